"""A mosquitto with the files that `fleet broker` writes for a fleet."""

import os
import shutil
import signal
from pathlib import Path

from edge_agent.config import MqttConfig, TlsConfig
from edge_agent.connection import Accepted, Answered, Connection
from edge_agent.records import Message
from tests.fleets import edge_agent
from tests.real.broker import Mosquitto, wait_for
from tests.sealed import opened


class Broker(Mosquitto):
    """As Debian starts it, whose own file includes ours.

    Args:
        folder: Of its own files.
        fleet: A fleet with certificates.
    """

    def __init__(self, folder: Path, fleet: Path) -> None:
        super().__init__(folder)
        self.fleet = fleet
        self.place = folder / "earshot"
        for site in (fleet / "sites").glob("*.yaml"):
            text = site.read_text().replace("mq.example-city.example", "127.0.0.1")
            site.write_text(text.replace("8883", str(self.port)))
        done = edge_agent(
            "fleet", "broker", "--out", str(self.place), "--at", str(self.place), cwd=fleet
        )
        assert done.returncode == 0, done.stderr
        assert "PRIVATE KEY" not in "".join(file.read_text() for file in self.place.iterdir())
        (self.place / "server.key").write_bytes(opened(fleet, "brokers/127.0.0.1.key"))
        # /etc/mosquitto/mosquitto.conf of Debian, with other folders.
        user = "user root\n" if os.geteuid() == 0 else ""
        included = folder / "conf.d"
        included.mkdir()
        shutil.copy(self.place / "earshot.conf", included)
        self._config.write_text(
            f"{user}pid_file {folder}/mosquitto.pid\npersistence true\n"
            f"persistence_location {folder}/\nlog_dest stderr\ninclude_dir {included}\n"
        )

    def reload(self) -> None:
        """As `systemctl reload` does it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        wait_for(lambda: "Reloading config" in self.log(), "it reads its files again")

    def pair(self, name: str) -> tuple[Path, Path]:
        """Somebody's certificate and key, like `devices/market-01`."""
        key = self.place / f"{name.replace('/', '-')}.key"
        if not key.exists():
            key.write_bytes(opened(self.fleet, f"{name}.key"))
        return self.fleet / "identities" / f"{name}.crt", key

    def tls(self, name: str) -> TlsConfig:
        certificate, key = self.pair(name)
        return TlsConfig(ca=str(self.place / "ca.crt"), certificate=str(certificate), key=str(key))

    def say(self, device: str, messages: list[Message]) -> None:
        """Hand over messages as this device, by the agent's own connection."""
        config = MqttConfig(
            host="127.0.0.1", port=self.port, tls=self.tls(f"devices/{device}"), window=1000
        )
        connection = Connection(config, device, None, "5", lambda: None)
        connection.start()
        wait_for(lambda: bool(connection.happened), "the broker answers")
        assert isinstance(connection.happened.popleft(), Accepted)
        for message in messages:
            connection.publish(message, retain=message.retain, expiry_s=None)
        wait_for(lambda: len(connection.happened) == len(messages), "all are acknowledged")
        assert all(isinstance(one, Answered) and one.code < 0x80 for one in connection.happened)
        connection.end()
