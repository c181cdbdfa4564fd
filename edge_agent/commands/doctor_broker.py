"""What `doctor` asks of the broker, under a name of its own.

It never uses the device's client id, by which the broker would throw out the agent that runs, has
no will, and publishes one message that is not retained to a topic of its own: nothing that stands
there changes.
"""

import json
import secrets
import socket
import threading
from pathlib import Path

import msgspec

from edge_agent.clock import SystemClock
from edge_agent.commands.device import check_name, with_paths
from edge_agent.commands.finding import Finding, fault, ok, refused, there, warning
from edge_agent.commands.install import PASSWORD_PATH
from edge_agent.config import MqttConfig
from edge_agent.configfile import LoadedConfig, placed
from edge_agent.connection import (
    Accepted,
    Answered,
    Connection,
    Happening,
    Refused,
    Unreachable,
    Version,
)
from edge_agent.errors import ConfigError
from edge_agent.records import Message
from edge_agent.written import rfc3339

_CONNECT_S = 5.0
_ANSWER_S = 8.0
_FAILED = 0x80
_UNSUPPORTED_VERSION = 0x84
_TODO = {
    0x84: "Set `mqtt: {version: 3.1.1}`, or leave `version` out.",
    0x85: "Let the broker admit other client ids than the device's, at least for this check.",
    0x86: "Correct `mqtt.username` and the password, here or at the broker.",
    0x87: "Let the broker admit the device's account; correct user name, password, certificate.",
    0x9C: "Change `mqtt.host` to the server that the broker names.",
    0x9D: "Change `mqtt.host` to the server that the broker names.",
}


class _Answer(msgspec.Struct, frozen=True):
    """How far one connection came."""

    last: Happening | None
    accepted: Accepted | None = None


def broker(loaded: LoadedConfig | None) -> Finding:
    """Name, port, TLS, login, and one message of QoS 1."""
    if loaded is None:
        todo = "Name the device's configuration with --config."
        return warning("broker", "not asked: no configuration names one", todo)
    try:
        with placed(loaded):
            check_name(loaded.config)
    except ConfigError as error:
        return refused("broker", error)
    mqtt = with_paths(loaded.config.mqtt, loaded)
    if mqtt.username is not None and mqtt.password_file is None:
        # Where the service gets it from; only root may read it.
        password = there(Path(PASSWORD_PATH))
        if password is None:
            found = f"not asked: the password in {PASSWORD_PATH} is root's"
            return warning("broker", found, "Do this as root: sudo edge-agent doctor")
        if password:
            mqtt = msgspec.structs.replace(mqtt, password_file=PASSWORD_PATH)
    return _reached(mqtt) or _published(mqtt, loaded)


def _reached(mqtt: MqttConfig) -> Finding | None:
    """Whether somebody listens there, before anything is said."""
    try:
        socket.getaddrinfo(mqtt.host, mqtt.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found = f"{mqtt.host}: the name is not known: {error}"
        return fault("broker", found, "Correct `mqtt.host`, or look at network and name server.")
    try:
        socket.create_connection((mqtt.host, mqtt.port), _CONNECT_S).close()
    except OSError as error:
        found = f"nobody answers at {mqtt.host}:{mqtt.port}: {error}"
        return fault("broker", found, "Look at `mqtt.host`, `mqtt.port`, firewall and broker.")
    return None


def _published(mqtt: MqttConfig, loaded: LoadedConfig) -> Finding:
    site = loaded.config.site
    now = SystemClock()
    message = Message(
        id="",
        kind="state",
        topic=f"{mqtt.root}/{site.site}/{site.device}/doctor",
        payload=json.dumps({"v": 1, "time": rfc3339(now.utc_ns())}).encode(),
        qos=1,
        retain=False,
    )
    version: Version = "3.1.1" if mqtt.version == "3.1.1" else "5"
    answer = _asked(mqtt, version, message)
    if mqtt.version == "auto" and _too_new(answer):
        version = "3.1.1"
        answer = _asked(mqtt, version, message)
    return _judged(mqtt, answer, version, message.topic)


def _asked(mqtt: MqttConfig, version: Version, message: Message) -> _Answer:
    """One connection, as far as it goes."""
    woken = threading.Event()
    # As long as MQTT 3.1.1 promises that every broker takes.
    client_id = f"earshot-doctor-{secrets.token_hex(4)}"
    connection = Connection(mqtt, client_id, None, version, woken.set)
    connection.start()
    accepted = None
    try:
        while woken.wait(_ANSWER_S):
            woken.clear()
            while connection.happened:
                happening = connection.happened.popleft()
                if not isinstance(happening, Accepted):
                    return _Answer(happening, accepted)
                accepted = happening
                if accepted.maximum_qos == 0:
                    return _Answer(None, accepted)
                connection.publish(message, retain=False, expiry_s=None)
        return _Answer(None, accepted)
    finally:
        if accepted is None:
            connection.drop()
        else:
            connection.end()


def _too_new(answer: _Answer) -> bool:
    return isinstance(answer.last, Refused) and answer.last.code == _UNSUPPORTED_VERSION


def _judged(mqtt: MqttConfig, answer: _Answer, version: Version, topic: str) -> Finding:
    where = f"{mqtt.host}:{mqtt.port}"
    last, accepted = answer.last, answer.accepted
    if isinstance(last, Unreachable):
        return _no_connection(mqtt, where, last)
    if isinstance(last, Refused):
        todo = _TODO.get(last.code, "The broker's log says more.")
        return fault("broker", f"{where} refuses the login: {last.name}", todo)
    if accepted is None:
        return _no_answer(mqtt, where)
    if accepted.maximum_qos == 0:
        found = f"{where} takes only QoS 0, with which nothing is sent (mqtt_no_qos)"
        return fault("broker", found, "Use a broker with QoS 1.")
    if not isinstance(last, Answered) or last.code >= _FAILED:
        why = last.name if isinstance(last, Answered) else "it gave no acknowledgement"
        found = f"{where} takes the login and not the topic {topic}: {why}"
        return fault("broker", found, "Let the device's account write below its own topic.")
    tls = "TLS, " if mqtt.tls else ""
    login = f"as {mqtt.username}" if mqtt.username else "without a user name"
    found = f"{where}, {tls}MQTT {version}, {login}; it acknowledged a message to {topic}"
    if not accepted.retain_available:
        todo = "Use a broker that retains, or do without late subscribers."
        return warning("broker", f"{found}; it retains nothing (mqtt_no_retain)", todo)
    return ok("broker", found)


def _no_connection(mqtt: MqttConfig, where: str, last: Unreachable) -> Finding:
    """The reason, and after the last semicolon what to do where the connection knows it."""
    why, _, todo = last.error.rpartition("; ")
    if why:
        sentence = todo if todo.startswith("mqtt.") else f"{todo[:1].upper()}{todo[1:]}"
        return fault("broker", f"{where}: {why}", f"{sentence}.")
    if mqtt.tls is not None:
        # The port has answered just now, so it is what is spoken there.
        todo = "Is it the port for TLS (often 8883)? Correct `mqtt.port`, or leave out `mqtt.tls`."
        return fault("broker", f"{where} does not speak TLS: {last.error}", todo)
    return fault("broker", f"{where}: {last.error}", "Look at `mqtt` in the configuration.")


def _no_answer(mqtt: MqttConfig, where: str) -> Finding:
    if mqtt.tls is None:
        todo = "Is it a port for TLS? Then set `mqtt.tls`; else look at `mqtt.port`."
    else:
        todo = "Does the broker want a certificate of the device? `mqtt.tls.certificate` and `key`."
    return fault("broker", f"{where} listens, and does not answer as an MQTT broker", todo)
