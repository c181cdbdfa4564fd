"""From the outbox to the broker and back: rows go out, what became of them comes in."""

import logging
from collections.abc import Callable

from edge_agent.mqtt import MqttOutput, Result
from edge_agent.outbox import Outbox

_log = logging.getLogger(__name__)


class Delivery:
    """Hands rows over as the broker allows.

    Args:
        outbox: Holds them.
        output: The broker.
        introduce: Called at each new connection, before the first row.
        acknowledged: Called for each row that the broker took.
    """

    def __init__(
        self,
        outbox: Outbox,
        output: MqttOutput,
        introduce: Callable[[], None],
        acknowledged: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._output = output
        self._introduce = introduce
        self._acknowledged = acknowledged

    def turn(self) -> None:
        """Take in what happened, and hand over what may be."""
        self._output.turn()
        for result in self._output.results():
            self._settle(result)
        if self._output.take_newly_connected():
            self._introduce()
        room, backlog_room = self._output.room(), self._output.backlog_room()
        for row in self._outbox.take(room, backlog_room, self._output.blocked()):
            self._output.send(row.key, row.message, backlog=row.backlog)

    def _settle(self, result: Result) -> None:
        match result.outcome:
            case "done":
                self._outbox.acknowledge(result.key)
                self._acknowledged()
            case "keep":
                self._outbox.give_back(result.key)
            case "strike":
                if self._outbox.strike(result.key):
                    _log.warning("a message was set aside: %s", self._output.health().last_error)
            case "set_aside":
                self._outbox.set_aside(result.key)
                _log.warning("a message was set aside: %s", self._output.health().last_error)
