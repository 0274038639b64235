# SPDX-License-Identifier: Apache-2.0
"""Program images as files, and programs that no compiler made: every way ends in a result or in a named refusal."""

import os
import random
import signal

import numpy as np
import pytest

from golden.iss import IssFault, Machine, placed
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.machine import PAGE
from golden.spec.program.container import BadMagic, BadSection, ProgramError, Truncated
from golden.spec.program.file import NoFile
from golden.spec.program.image import Image
from golden.spec.status import Status
from host.compiler.compile import compile_model
from host.driver.layout import prepare_input


@pytest.fixture(scope="module")
def nano():
    """Nano's image and an input buffer."""
    image = compile_model(random_int_model(model.NANO), machine.NANO)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    return image, prepare_input(pixels, image.input)


def test_files_round_trip(nano, tmp_path):
    image, _ = nano
    path = tmp_path / "nano.emoe"
    image.save(path)
    assert Image.load(path) == image and path.stat().st_size % PAGE == 0
    again = tmp_path / "again.emoe"
    Image.load(path).save(again)
    assert again.read_bytes() == path.read_bytes()


def write(data):
    return lambda path, good: path.write_bytes(data(good) if callable(data) else data)


def sparse(size):
    def make(path, good):
        path.write_bytes(good)
        os.truncate(path, size)
    return make


@pytest.mark.parametrize("make, error, words", [
    (lambda path, good: None, NoFile, "cannot be read: No such file"),
    (lambda path, good: path.mkdir(), NoFile, "cannot be read: Is a directory"),
    (write(b""), BadMagic, "starts with b''"),
    (write(b"\x80\x04\x95cposix\nsystem\n" * 500), BadMagic, "starts with"),
    (write(lambda good: good[:PAGE]), Truncated, "promises"),
    (write(lambda good: good[:-1]), Truncated, "promises"),
    (write(lambda good: good + good), Truncated, "promises"),
    (write(lambda good: good.replace(b"\r\n", b"\n", 1)), BadMagic, "starts with"),
    (sparse(64 << 30), BadSection, "at most"),
    (sparse(1 << 32), Truncated, "promises"),
    (lambda path, good: os.mkfifo(path), NoFile, "cannot be read: it is a pipe"),
])
def test_bad_files_are_refused_by_name(nano, tmp_path, make, error, words):
    path = tmp_path / "x.emoe"
    make(path, nano[0].to_bytes())
    with pytest.raises(error, match=words) as caught:
        Image.load(path)
    assert type(caught.value) is error


def test_a_place_that_cannot_be_written_is_named(nano, tmp_path):
    with pytest.raises(NoFile, match="cannot be written"):
        nano[0].save(tmp_path / "no" / "nano.emoe")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_what_is_no_file_is_not_replaced(nano, tmp_path, make):
    make(tmp_path / "x.emoe")
    with pytest.raises(NoFile, match="cannot be written: a folder, pipe or device has that name"):
        nano[0].save(tmp_path / "x.emoe")
    assert [path.name for path in tmp_path.iterdir()] == ["x.emoe"] and not (tmp_path / "x.emoe").is_file()


def test_a_full_disk_leaves_the_older_image(nano, tmp_path):
    resource = pytest.importorskip("resource")
    path, kept = tmp_path / "nano.emoe", b"an older image"
    path.write_bytes(kept)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        with pytest.raises(NoFile, match="nano.emoe' cannot be written: File too large"):
            nano[0].save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == kept and list(tmp_path.iterdir()) == [path]


def test_random_damage_of_a_real_image_is_noticed(nano):
    good, rng = nano[0].to_bytes(), random.Random(3)
    for _ in range(300):
        bad = bytearray(good)
        start = rng.randrange(len(bad))
        kind = rng.randrange(3)
        if kind == 0:
            bad[start] ^= rng.randrange(1, 256)
        elif kind == 1:
            piece = bytes(rng.randrange(256) for _ in range(64))
            bad[start:start + 64] = piece
        else:
            del bad[start:start + rng.randrange(1, 5000)]
        if bytes(bad) != good:
            with pytest.raises(ProgramError):
                Image.from_bytes(bytes(bad))


def ended(image, pixels, words):
    """How a job with these instructions ends: a status."""
    dram, registers, _ = placed(image, pixels, "task0")
    registers["PROGRAM_ADDR"] = dram.put(isa.assemble(words))
    registers["READ_HI"] = registers["PROGRAM_ADDR"] + len(words) * isa.INSTRUCTION_BYTES
    try:
        Machine(image.machine, dram, hazards=False).run(registers)
    except IssFault as fault:
        assert 0 <= fault.index <= len(words)  # BEGIN may promise more than there is
        return fault.status
    return Status.OK


def test_programs_with_random_fields_end_with_a_status(nano):
    image, pixels = nano
    rng, ends = random.Random(9), {}
    for _ in range(300):
        words = image.words("task0")
        for _ in range(rng.choice([1, 1, 2, 4])):
            at = rng.randrange(len(words))
            opcode, fields = isa.decode(words[at])
            word = isa.FORMATS[opcode]
            field = rng.choice(word.fields[2:] or word.fields[:1])
            value = rng.choice([0, 1, 2, field.high, rng.randint(0, field.high), rng.randint(0, min(70, field.high))])
            words[at] &= ~(((1 << field.width) - 1) << word.offsets[field.name])
            words[at] |= value << word.offsets[field.name]
            try:
                isa.decode(words[at])
            except model.ConfigError:
                break
        end = ended(image, pixels, words)
        ends[end] = ends.get(end, 0) + 1
    assert {Status.OK, Status.BAD_FIELD, Status.RANGE_LOCAL, Status.RANGE_READ, Status.RANGE_WRITE} <= set(ends), ends


def test_programs_of_random_words_end_with_a_status(nano):
    image, pixels = nano
    rng, ends = random.Random(10), set()
    for _ in range(300):
        words = image.words("task0")
        kind = rng.randrange(4)
        if kind == 0:
            words[rng.randrange(len(words))] = rng.getrandbits(256)
        elif kind == 1:
            words[rng.randrange(len(words))] ^= 1 << rng.randrange(256)
        elif kind == 2:
            words = words[:1] + rng.sample(words[1:], len(words) - 1)
        else:
            del words[rng.randrange(1, len(words))]
        ends.add(ended(image, pixels, words))
    assert {Status.BAD_OPCODE, Status.BAD_FIELD} <= ends
    assert ends <= set(Status)


def test_nothing_outside_the_window_is_written(nano):
    image, pixels = nano
    rng = random.Random(11)
    for _ in range(100):
        words = image.words("task0")
        at = next(i for i, word in enumerate(words) if word & 15 == isa.Opcode.STORE)
        fields = isa.decode(words[at])[1] | {"offset": rng.choice([0, 1, rng.getrandbits(32)]),
                                             "rows": rng.randint(1, 200), "row": rng.randint(0, 100)}
        words[at] = isa.encode(isa.Opcode.STORE, **fields)
        dram, registers, size = placed(image, pixels, "task0")
        registers["PROGRAM_ADDR"] = dram.put(isa.assemble(words))
        registers["READ_HI"] = registers["PROGRAM_ADDR"] + 4096
        guard = {name: dram.read(registers[name], length) for name, length in (
            ("INPUT_ADDR", len(pixels)), ("WEIGHT_ADDR0", len(image.planes[0])), ("TABLE_ADDR", len(image.tables)))}
        try:
            Machine(image.machine, dram, hazards=False).run(registers)
        except IssFault as fault:
            assert fault.status in (Status.RANGE_WRITE, Status.RANGE_LOCAL)
            assert fault.status is Status.RANGE_LOCAL or not any(dram.read(registers["OUTPUT_ADDR"], size))
        assert all(dram.read(registers[name], len(data)) == data for name, data in guard.items())
