"""Counts words: a component as it is written for Storm with pystorm, with nothing of Waterspout in it."""

from collections import Counter

from pystorm import Bolt


class Count(Bolt):
    """Emits the new count of each word that comes."""

    def initialize(self, conf, context):
        self.counts = Counter()

    def process(self, tup):
        word = tup.values[0]
        self.counts[word] += 1
        self.emit([word, self.counts[word]])


if __name__ == "__main__":
    Count().run()
