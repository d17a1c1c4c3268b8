"""Splits lines into words: a component as it is written for Storm with pystorm, with nothing of Waterspout in it."""

from pystorm import Bolt


class Split(Bolt):
    """Emits each word; pystorm anchors and acknowledges by itself."""

    def process(self, tup):
        for word in tup.values[0].split():
            self.emit([word])


if __name__ == "__main__":
    Split().run()
