"""A bolt that emits what it gets: two fields in, two out. By multilang, with pystorm as it comes."""

from pystorm import Bolt


class Identity(Bolt):
    """pystorm anchors and acknowledges by itself."""

    def process(self, tup):
        word, number = tup.values
        self.emit([word, number])


if __name__ == "__main__":
    Identity().run()
