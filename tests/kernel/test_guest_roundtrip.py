# SPDX-License-Identifier: Apache-2.0
"""Images between kernel, model and simulated host, byte by byte; and what each makes of an image of another release."""
import base64
import os
import subprocess

import pytest

from guests import Shell
from processes import LIMIT, Folder, Process, binary, build_dir

MEMORY = {"stopcopy": 4, "p2p": 8, "full": 16}  # MiB, each type's own


def program(name):
    return os.path.join(build_dir(), "tests", "kernel", name)


def run(*argv):
    """0 and no word, or a status and what was said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT)
    return done.returncode, (done.stdout + done.stderr).strip()


class Model:
    """kmod/model alone, in user space."""

    def __init__(self, folder):
        self.folder = folder

    def copy(self, image):
        source, target = self.folder.write_bytes("in", image), self.folder("model-out")
        status, said = run(program("image_tool"), "copy", source, target)
        return (self.folder.read_bytes(target), None) if status == 0 else (None, said.rpartition(": ")[2])

    def change(self, image, *words):
        source, target = self.folder.write_bytes("in", image), self.folder("changed")
        assert run(program("image_tool"), *map(str, words), source, target) == (0, "")
        return self.folder.read_bytes(target)


class Sim:
    """A simulated host: a process of its own, spoken to as the agent does."""

    def __init__(self, folder):
        self.folder, self.socket = folder, folder("hw")
        text = f"[host]\nsocket = {self.socket}\n"
        for slot, kind in enumerate(MEMORY):
            text += f"[device {kind}]\ntype = {kind}\nslot = {slot}\nmemory = {MEMORY[kind]}M\n"
        self.process = Process("simhost", [binary("lockstep-simhost"), folder.write("hw.conf", text)])
        self.process.expect("ready")

    def make(self, verb, kind, image):
        source, target = self.folder.write_bytes("in", image), self.folder("sim-out")
        status, said = run(program("device_image"), "sim", f"{self.socket}#{kind}", verb, source, target)
        return (self.folder.read_bytes(target), None) if status == 0 else (None, said)

    def copy(self, kind, image):
        return self.make("copy", kind, image)


class Kernel:
    """A guest's driver. Its devices are made for one image, and gone after it."""

    PARENT = "/sys/class/mdev_bus/lockstep-pf0/mdev_supported_types"

    def __init__(self, port):
        self.shell = Shell(port)

    def has(self, kind):
        return self.shell.run(f"[ -e {self.PARENT}/lockstep-{kind} ]; echo $?").strip() == "0"

    def fetch(self, path):
        return base64.b64decode(self.shell.run(f"base64 {path}"))

    def make(self, verb, kind, image):
        slot = list(MEMORY).index(kind)
        uuid = f"00000000-0000-4000-8000-{900 + slot:012d}"
        device = f"/sys/bus/mdev/devices/{uuid}"
        text = base64.encodebytes(image).decode()
        said = self.shell.run(
            f"base64 -d >/tmp/in <<'END'\n{text}END\n"
            f"echo {uuid} >{self.PARENT}/lockstep-{kind}/create && echo {slot} >{device}/lockstep/slot && "
            f"echo {MEMORY[kind]} >{device}/lockstep/memory_mib || exit 9\n"
            f"device_image vfio {device} {verb} /tmp/in /tmp/out; s=$?\necho 1 >{device}/remove; exit $s", check=False).strip()
        return (None, said) if said else (self.fetch("/tmp/out"), None)

    def copy(self, kind, image):
        return self.make("copy", kind, image)


class Files(Folder):
    def write_bytes(self, name, data):
        with open(self(name), "wb") as f:
            f.write(data)
        return self(name)

    @staticmethod
    def read_bytes(path):
        with open(path, "rb") as f:
            return f.read()


@pytest.fixture(name="places", scope="module")
def all_places(guests):
    """Model, simulated host, and the kernels of both guests (of one version, or of two)."""
    folder = Files()
    sim = Sim(folder)
    yield Model(folder), sim, Kernel(guests.ports[0]), Kernel(guests.ports[2])
    sim.process.stop()
    folder.remove()


@pytest.fixture(name="lived", scope="module")
def images_of_live_devices(places):
    """From the first guest's kernel: image by type, stream of a pre-copy by type."""
    *_, kernel, _ = places
    said = kernel.shell.run("mkdir -p /tmp/live && kmod_live /tmp/live")
    images, streams = {}, {}
    for line in said.splitlines():
        words = line.split()
        (streams if "of" in words else images)[words[0]] = kernel.fetch(f"/tmp/live/{words[2]}")
    assert set(images) == {kind for kind in MEMORY if kernel.has(kind)} and "p2p" in images, said
    return images, streams


def difference(a, b):
    """Where two images differ first; None: nowhere."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def round_trip(places, kind, image):
    """kernel -> model -> simulated host -> the other kernel, each saving what it loaded."""
    model, sim, _, kernel = places
    there, why = model.copy(image)
    assert there, why
    back, why = sim.copy(kind, there)
    assert back, why
    end, why = kernel.copy(kind, back)
    assert end, why
    return there, back, end


def test_images_of_live_devices_are_the_same_bytes_everywhere(places, lived):
    images, _ = lived
    for kind, image in images.items():
        if places[3].has(kind):
            assert len(image) > 20000, f"{kind} has not lived"
            assert [difference(image, other) for other in round_trip(places, kind, image)] == [None] * 3, kind


def test_the_stream_of_a_precopy_carries_the_same_state_everywhere(places, lived):
    images, streams = lived
    for kind, stream in streams.items():
        if not places[3].has(kind):
            continue
        assert len(stream) > len(images[kind]), "no page was sent twice: nothing was dirty"
        assert [difference(images[kind], other) for other in round_trip(places, kind, stream)] == [None] * 3
        # And as a first loader: each place is the one that meets the rounds.
        assert difference(images[kind], places[1].copy(kind, stream)[0]) is None
        assert difference(images[kind], places[3].copy(kind, stream)[0]) is None


def test_a_precopy_of_the_same_device_is_the_same_stream_from_kernel_and_simulated_host(places, lived):
    images, _ = lived
    _, sim, _, kernel = places
    if "full" not in images or not kernel.has("full"):
        pytest.skip("no PRE_COPY in this kernel")
    ours, why = kernel.make("precopy", "full", images["full"])
    assert ours, why
    theirs, why = sim.make("precopy", "full", images["full"])
    assert theirs, why
    assert difference(ours, theirs) is None
    # Rounds under way were in it: it is not the image, and what it carries is not what the device began with.
    assert difference(ours, images["full"]) is not None
    ends = round_trip(places, "full", ours)
    assert difference(*ends[:2]) is None and difference(*ends[1:]) is None and difference(ends[0], images["full"]) is not None


def test_control_one_bit_is_seen_wherever_it_is_lost(places, lived):
    images, _ = lived
    model, _, _, kernel = places
    for kind in [kind for kind in images if kernel.has(kind)]:
        image = images[kind]
        bent = model.change(image, "bend")
        where = difference(image, bent)
        # A state just as good, which all take and give back as it is; to the comparison it is another.
        for other in round_trip(places, kind, bent):
            assert difference(bent, other) is None and difference(image, other) == where
        # And without its digests put right nobody takes it.
        broken = bytearray(image)
        broken[where] ^= 4
        for place in places[1:]:
            assert place.copy(kind, bytes(broken)) == (None, "write: EBADMSG")
        assert model.copy(bytes(broken)) == (None, "Bad message")


# ---- other releases ----

OWN = 2


def everywhere(places, kind, image):
    """What simulated host and both kernels make of it: (image, None) or (None, what was said)."""
    return [place.copy(kind, image) for place in places[1:] if place is places[1] or place.has(kind)]


def test_an_image_of_the_release_before_is_taken_and_saved_as_ones_own(places, lived):
    model = places[0]
    for kind, image in lived[0].items():
        assert int.from_bytes(image[8:12], "little") == OWN
        before = model.change(image, "as-version", OWN - 1)
        assert difference(image, before) == 8
        for taken, why in everywhere(places, kind, before) + [model.copy(before)]:
            assert difference(image, taken) is None, why


@pytest.mark.parametrize("version", [0, OWN + 1, 4000000000])
def test_an_image_of_any_other_release_is_refused_with_eopnotsupp(places, lived, version):
    image = places[0].change(lived[0]["p2p"], "as-version", version)
    assert everywhere(places, "p2p", image) == [(None, "write: EOPNOTSUPP")] * 3
    assert places[0].copy(image) == (None, os.strerror(95))


def test_a_field_for_later_use_is_passed_over_when_offered_and_refused_when_required(places, lived):
    model, image = places[0], lived[0]["p2p"]
    for bit in (0, 17, 31):
        offered, required = model.change(image, "offer", bit), model.change(image, "require", bit)
        assert difference(image, offered) == 36 + bit // 8
        for taken, why in everywhere(places, "p2p", offered):
            assert difference(image, taken) is None, why
        assert everywhere(places, "p2p", required) == [(None, "write: EOPNOTSUPP")] * 3
    # The release before had no such words: there they must be zero.
    spoilt = model.change(model.change(image, "offer", 3), "as-version", OWN - 1)
    assert everywhere(places, "p2p", spoilt) == [(None, "write: EINVAL")] * 3
