# SPDX-License-Identifier: Apache-2.0
"""Register map: aligned, distinct, conventional; every status has a meaning."""

from golden.spec import regs, status


def test_registers_are_aligned_distinct_and_inside_the_map():
    taken = set()
    for register in regs.REGISTERS:
        size = 8 if register.wide else 4
        assert register.offset % size == 0, f"{register.name} is not aligned"
        words = set(range(register.offset, register.offset + size, 4))
        assert not words & taken, f"{register.name} overlaps another register"
        assert register.offset + size <= regs.MAP_BYTES
        assert 0 <= (register.reset or 0) < 1 << 8 * size
        taken |= words
    assert [r.offset for r in regs.REGISTERS] == sorted(r.offset for r in regs.REGISTERS)
    assert len(regs.BY_NAME) == len(regs.REGISTERS)


def test_the_first_registers_are_those_of_ap_ctrl_hs():
    assert [regs.BY_NAME[name].offset for name in ("CTRL", "GIER", "IER", "ISR")] == [0, 4, 8, 12]
    assert (regs.Ctrl.START, regs.Ctrl.DONE, regs.Ctrl.IDLE, regs.Ctrl.READY) == (1, 2, 4, 8)


def test_only_writable_registers_lock():
    assert all(r.access is regs.Access.RW for r in regs.REGISTERS if r.locked)
    assert all(r.locked for r in regs.REGISTERS if 0x40 <= r.offset < 0x100)  # addresses and windows


def test_fields_lie_inside_their_register_and_apart():
    for register in regs.REGISTERS:
        taken = 0
        for field in register.fields:
            assert field.width > 0 and field.low + field.width <= register.bits and not taken & field.mask, field.name
            taken |= field.mask
        assert not (register.reset or 0) & ~taken, register.name
        writable = any(field.access in (regs.Access.RW, regs.Access.TOW, regs.Access.SOW) for field in register.fields)
        assert writable == (register.access is not regs.Access.RO), register.name
    for name, flags in (("CTRL", regs.Ctrl), ("ISR", regs.Cause), ("IER", regs.Cause), ("STATUS", regs.StatusBits)):
        fields = {field.name: field.mask for field in regs.BY_NAME[name].fields if field.name != "CODE"}
        assert fields == {flag.name: flag.value for flag in flags}


def test_every_status_fits_8_bits_and_has_a_meaning():
    assert set(status.MEANING) == set(status.Status)
    assert all(0 <= code < 256 for code in status.Status) and all(status.MEANING.values())
