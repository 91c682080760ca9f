"""In an installed app, so a row may have it imported; the tests see whether it was."""


def come():
    pass
