"""A bolt of pystorm that emits what it gets; the argument is its serializer."""

import sys

from pystorm import Bolt


class Echo(Bolt):
    def process(self, tup):
        self.emit(list(tup.values))


if __name__ == "__main__":
    Echo(serializer=sys.argv[1]).run()
