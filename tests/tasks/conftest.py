import pytest
from tests.tasks.framework import task_enqueued, task_finished, task_started


@pytest.fixture
def heard():
    """The signals of tasks that were sent: name, sender, status, result."""
    entries, receivers = [], []
    for name, signal in (("enqueued", task_enqueued), ("started", task_started), ("finished", task_finished)):

        def receive(sender, task_result, name=name, **_):
            entries.append((name, sender, task_result.status, task_result))

        signal.connect(receive)
        receivers.append((signal, receive))
    yield entries
    for signal, receive in receivers:
        signal.disconnect(receive)
