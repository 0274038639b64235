# SPDX-License-Identifier: Apache-2.0
"""Key and value memory with a write port for each cluster: banks of keys."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from golden.spec.machine import TN, MachineConfig
from hw.interfaces import KEY_WRITE, READ_LATENCY, VALUE_WRITE
from hw.lib.crossbar import Crossbar
from hw.lib.shared import alike
from hw.memory.key_memory import KeyMemory
from hw.memory.value_memory import ValueMemory


def place_of(key: int, low: int, bits: int) -> tuple[int, int]:
    """A key's number as (its bank, its number in the bank): the bank is ``bits`` bits from bit ``low`` on."""
    return key >> low & (1 << bits) - 1, key >> low + bits << low | key & (1 << low) - 1


def split(key, low: int, bits: int) -> tuple:
    """The same for a signal."""
    return key[low:low + bits], Cat(key[:low], key[low + bits:])


class BankedMemory(wiring.Component):
    """A memory of keys in as many banks as there are clusters. ::

        i[0..] -> [ Crossbar ] -> [ bank ] -> o

    The keys of a cluster's lanes lie in its own bank where tokens are counted from a multiple of tm, so the clusters do
    not wait for each other. A read takes a row of all banks: its bytes do not depend on how many clusters there are.
    Timing: as of a bank, where clusters write to different ones.
    Domain: as of a bank.
    Reference model: as of a bank.

    Members: ``i`` In(stream) of each cluster, ``row`` In, ``en`` In, ``o`` Out(TN * tk * 8 bits).
    """

    LATENCY = READ_LATENCY

    i: list[stream.Interface]
    row: Signal
    en: Signal
    o: Signal

    def __init__(self, cfg: MachineConfig, shape):
        self.cfg, self.shape = cfg, shape
        super().__init__({"i": In(stream.Signature(shape)).array(cfg.clusters), "row": In(range(cfg.kv_rows)),
                          "en": In(1), "o": Out(8 * cfg.row_bytes)})

    @staticmethod
    def bank_bits(cfg: MachineConfig) -> tuple[int, int]:
        """Where in a key's number that of its bank begins, and how many bits it has."""
        raise NotImplementedError

    def banks(self) -> list:
        """The banks."""
        raise NotImplementedError

    def key(self, write):
        """The key of a write."""
        raise NotImplementedError

    @classmethod
    def byte_of(cls, cfg: MachineConfig, byte: int) -> tuple[int, int]:
        """The bank of a byte of a row, and its place in the bank's row."""
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        banks, (low, bits) = self.banks(), self.bank_bits(self.cfg)
        crossbar = m.submodules.crossbar = Crossbar(
            self.shape, len(self.i), len(banks), lambda write: split(self.key(write), low, bits)[0])
        modules = alike(platform, banks)
        for n, (client, bank, port) in enumerate(zip(self.i, banks, crossbar.o, strict=True)):
            m.submodules[f"bank{n}"] = modules[n]
            connect(m, flipped(client), crossbar.i[n])
            m.d.comb += [bank.i.valid.eq(port.valid), port.ready.eq(bank.i.ready), bank.i.p.eq(port.p),
                         self.key(bank.i.p).eq(split(self.key(port.p), low, bits)[1]),
                         bank.row.eq(self.row), bank.en.eq(self.en)]
        places = [self.byte_of(self.cfg, byte) for byte in range(self.cfg.row_bytes)]
        m.d.comb += self.o.eq(Cat(banks[bank].o.word_select(place, 8) for bank, place in places))
        return m


class KeyBanks(BankedMemory):
    """The K memory, a :class:`BankedMemory` of :class:`KeyMemory`: a bank has some of a tile's keys."""

    def __init__(self, cfg: MachineConfig):
        super().__init__(cfg, KEY_WRITE)

    @staticmethod
    def bank_bits(cfg: MachineConfig) -> tuple[int, int]:
        return exact_log2(cfg.cluster.tm), exact_log2(cfg.clusters)

    def banks(self) -> list[KeyMemory]:
        return [KeyMemory(self.cfg, TN // self.cfg.clusters) for _ in range(self.cfg.clusters)]

    def key(self, write):
        return write.column

    @classmethod
    def byte_of(cls, cfg: MachineConfig, byte: int) -> tuple[int, int]:
        key, channel = divmod(byte, cfg.tk)
        bank, place = place_of(key, *cls.bank_bits(cfg))
        return bank, place * cfg.tk + channel


class ValueBanks(BankedMemory):
    """The V memory, a :class:`BankedMemory` of :class:`ValueMemory`: a bank has some of the keys of each step."""

    def __init__(self, cfg: MachineConfig):
        super().__init__(cfg, VALUE_WRITE)

    @staticmethod
    def bank_bits(cfg: MachineConfig) -> tuple[int, int]:
        bits = exact_log2(cfg.clusters)
        return min(exact_log2(cfg.cluster.tm), exact_log2(cfg.tk) - bits), bits

    def banks(self) -> list[ValueMemory]:
        return [ValueMemory(self.cfg, self.cfg.tk // self.cfg.clusters) for _ in range(self.cfg.clusters)]

    def key(self, write):
        return write.position

    @classmethod
    def byte_of(cls, cfg: MachineConfig, byte: int) -> tuple[int, int]:
        channel, key = divmod(byte, cfg.tk)
        bank, place = place_of(key, *cls.bank_bits(cfg))
        return bank, channel * (cfg.tk // cfg.clusters) + place
