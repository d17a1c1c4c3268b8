"""A word, and that it was there once."""


def process(tup):
    yield tup.word, 1
