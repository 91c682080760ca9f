"""A module of an installed app, which a row may name; the tests see whether it is imported."""


def come():
    pass
