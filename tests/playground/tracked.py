"""The settings of the playground with Sentry as docs/deployment.md sets it up.

EVENTS    the file that receives its events, a line of JSON each
TRACKED   "given up" runs the code of the page; otherwise every failure is sent
"""

import functools
import json
from os import environ

import sentry_sdk
from sentry_sdk.transport import Transport
from tests.playground.settings import *  # noqa: F403
from tests.stories.markdown import ROOT, blocks


class ToFile(Transport):
    """Writes events where a test reads them."""

    def capture_envelope(self, envelope):
        if event := envelope.get_event():
            with open(environ["EVENTS"], "a") as file:
                file.write(json.dumps(event, default=str) + "\n")


environ["SENTRY_DSN"] = "https://key@sentry.invalid/1"
init = sentry_sdk.init
sentry_sdk.init = functools.partial(init, transport=ToFile)
if environ.get("TRACKED") == "given up":
    [page] = [block for block in blocks(ROOT / "docs/deployment.md") if "sentry_sdk.init" in block.text]
    exec(page.text)
else:
    sentry_sdk.init(dsn=environ["SENTRY_DSN"])
sentry_sdk.init = init
