"""Names that outlast a reboot, on trees of files laid out as the kernel's."""

from pathlib import Path

import pytest

from edge_agent.capture.cards import Place, captures, find, number, owner, place_in, usb_rates
from edge_agent.devicename import CardName, UsbName, parsed
from tests.sound_tree import STREAM, SoundTree


@pytest.fixture
def tree(tmp_path: Path) -> SoundTree:
    return SoundTree(tmp_path)


def names(tree: SoundTree) -> list[tuple[str, ...]]:
    known = captures(tree.root)
    return [capture.names(known) for capture in known]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hw:CARD=Device", CardName("Device", 0)),
        ("hw:CARD=Device_1,DEV=2", CardName("Device_1", 2)),
        ("usb:0D8C:013c", UsbName("0d8c", "013c", None, None)),
        ("usb:0d8c:013c:A1", UsbName("0d8c", "013c", "A1", None)),
        ("usb:0d8c:013c@1-1.2", UsbName("0d8c", "013c", None, "1-1.2")),
        ("usb:0d8c:013c:A:1@x@2-1", UsbName("0d8c", "013c", "A:1@x", "2-1")),
        ("default", None),
        ("mic0", None),
        ("hw:1,0", None),
        ("3", None),
    ],
)
def test_a_name_says_what_it_asks_for(name: str, expected: CardName | UsbName | None) -> None:
    assert parsed(name) == expected


@pytest.mark.parametrize(
    "name", ["hw:CARD=", "hw:CARD=a b", "hw:CARD=a,DEV=", "usb:", "usb:0d8c", "usb:0d8c:13c"]
)
def test_a_slip_of_the_pen_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a sound card; write hw:CARD=<id>"):
        parsed(name)


def test_a_name_follows_its_card_to_another_index(tree: SoundTree) -> None:
    tree.card(0, "Headphones")
    tree.usb(1, "Device", "1-1.2")
    asked = ("hw:CARD=Device", "usb:0d8c:013c", "usb:0d8c:013c@1-1.2")
    assert {find(name, tree.root) for name in asked} == {Place(1, 0)}
    tree.unplug(1)
    for name in asked:
        with pytest.raises(LookupError, match=r"no sound card .* there are: hw:CARD=Headphones$"):
            find(name, tree.root)
    SoundTree(tree.root / "next").usb(4, "Device", "1-1.2")
    assert {find(name, tree.root / "next") for name in asked} == {Place(4, 0)}


def test_two_equal_microphones_are_told_apart_by_their_port_alone(tree: SoundTree) -> None:
    tree.usb(1, "Device", "1-1.2")
    tree.usb(2, "Device_1", "1-1.4")
    assert names(tree) == [
        ("hw:CARD=Device", "usb:0d8c:013c@1-1.2"),
        ("hw:CARD=Device_1", "usb:0d8c:013c@1-1.4"),
    ]
    assert find("usb:0d8c:013c@1-1.4", tree.root) == Place(2, 0)
    with pytest.raises(LookupError, match=r"2 sound cards have this name; add @1-1.2 or @1-1.4"):
        find("usb:0d8c:013c", tree.root)
    # With one of them pulled out the short name is the other's.
    tree.unplug(1)
    assert find("usb:0d8c:013c", tree.root) == Place(2, 0)


def test_a_serial_number_tells_equal_microphones_apart(tree: SoundTree) -> None:
    tree.usb(1, "Device", "1-1.2", serial="A1")
    tree.usb(2, "Device_1", "1-1.4", serial="A2")
    assert [found[1] for found in names(tree)] == ["usb:0d8c:013c:A1", "usb:0d8c:013c:A2"]
    assert find("usb:0d8c:013c:A2", tree.root) == Place(2, 0)
    with pytest.raises(LookupError, match="no sound card has this name"):
        find("usb:0d8c:013c:A3", tree.root)
    with pytest.raises(LookupError, match="no sound card has this name"):
        find("usb:0d8c:013c:A2@1-1.2", tree.root)


def test_a_card_of_the_board_has_no_usb_name_and_may_have_several_devices(tree: SoundTree) -> None:
    tree.card(0, "sndrpi", devices=2)
    assert names(tree) == [("hw:CARD=sndrpi",), ("hw:CARD=sndrpi,DEV=1",)]
    assert find("hw:CARD=sndrpi,DEV=1", tree.root) == Place(0, 1)
    with pytest.raises(LookupError):
        find("hw:CARD=sndrpi,DEV=2", tree.root)


def test_names_of_plugins_are_taken_as_they_stand(tree: SoundTree) -> None:
    assert find("default", tree.root) is None
    assert find("mic0", tree.root) is None


def test_a_machine_without_sound_has_no_cards(tmp_path: Path) -> None:
    assert captures(tmp_path) == []
    with pytest.raises(LookupError, match="there are: none"):
        find("hw:CARD=Device", tmp_path)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ("48000, 44100", (44100, 48000)),
        ("16000", (16000,)),
        ("32000 - 48000 (continuous)", (32000, 44100, 48000)),
    ],
)
def test_the_rates_are_those_of_the_capture_side(
    tree: SoundTree, rates: str, expected: tuple[int, ...]
) -> None:
    tree.usb(1, "Device", "1-1.2", stream=STREAM.replace("48000, 44100", rates))
    assert usb_rates(Place(1, 0), tree.root) == expected
    assert usb_rates(Place(2, 0), tree.root) is None


def test_who_records_is_known(tree: SoundTree) -> None:
    tree.usb(1, "Device", "1-1.2")
    assert owner(Place(1, 0), tree.root) is None
    tree.record(1, 4711)
    assert owner(Place(1, 0), tree.root) == 4711


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("USB PnP Sound Device: Audio (hw:1,0)", Place(1, 0)),
        ("USB PnP Sound Device: Audio (hw:11,3)", Place(11, 3)),
        ("mic0", None),
        ("hw:1,0", None),
    ],
)
def test_portaudios_names_of_hardware_end_with_the_place(
    title: str, expected: Place | None
) -> None:
    assert place_in(title) == expected


def test_portaudios_device_is_picked_by_its_place_and_never_by_chance() -> None:
    # A second microphone of the same name, and one whose index begins with the same digit.
    titles = ["default", "USB: Audio (hw:1,0)", "USB: Audio (hw:11,0)", "USB: Audio (hw:1,1)"]
    assert [number(Place(*at), titles) for at in ((1, 0), (11, 0), (1, 1))] == [1, 2, 3]
    assert number(Place(0, 0), titles) is None
