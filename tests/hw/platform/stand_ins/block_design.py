# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the commands of IP Integrator (UG994): cells, nets, addresses, and the rules of a valid design."""

from fnmatch import fnmatchcase

from tests.hw.platform.stand_ins.catalogue import CELLS, PARAMETERS, REGISTER_WINDOW, Bus, Cell, ProcessingSystem
from tests.hw.platform.stand_ins.packager import Core
from tests.hw.platform.stand_ins.tcl import Call, Refused


class Accelerator(Cell):
    """A cell of the packaged component."""

    core: Core

    def pins(self):
        ways = {"input": "in", "output": "out"}
        return {label: ways[self.core.top.ports[next(iter(one.ports.values()))][0]]
                for label, one in self.core.top.interfaces.items() if one.kind.startswith("signal:")}

    def buses(self):
        found = {}
        for label, one in self.core.top.interfaces.items():
            if one.kind == "interface:aximm":
                bits = one.parameters["DATA_WIDTH"] if not one.manager else self._parameter(label, "DATA_WIDTH")
                found[label] = Bus(one.manager, int(bits), self._clock(label))
        return found

    def _clock(self, label: str) -> str:
        for name, part in self.core.parts.items():
            if "parameter:ASSOCIATED_BUSIF" in part.parts:
                if label in part.parts["parameter:ASSOCIATED_BUSIF"].properties["value"].split(":"):
                    return name.removeprefix("interface:")
        raise Refused(f"{label} has no clock")

    def low_resets(self):
        return {label: self._parameter(label, "POLARITY") == "ACTIVE_LOW"
                for label, one in self.core.top.interfaces.items() if one.kind == "signal:reset"}

    def _parameter(self, label: str, name: str) -> str:
        """A parameter of an interface, as it was packaged."""
        parts = self.core.parts[f"interface:{label}"].parts
        if f"parameter:{name}" not in parts:
            raise Refused(f"{label} was packaged without {name}")
        return parts[f"parameter:{name}"].properties["value"]

    def spaces(self):
        return {label: label for label, bus in self.buses().items() if bus.manager}

    def segments(self):
        found = {}
        for label, bus in self.buses().items():
            if not bus.manager:
                for block in self.core.parts[f"map:{label}"].parts.values():
                    found[f"{label}/{block.name}"] = label, 0, int(block.properties["range"], 0)
        return found


class BlockDesign:
    """A block design. ``nets``: driver by pin; ``links``: the other end by interface; ``mapped``: base and size by
    address space and segment."""

    def __init__(self, tool):
        self.tool, self.open, self.valid = tool, False, False
        self.cells: dict[str, Cell] = {}
        self.nets: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.mapped: dict[tuple[str, str], tuple[int, int]] = {}
        self.excluded: set[tuple[str, str]] = set()
        define = tool.tcl.define
        define("create_bd_design", self._create)
        define("create_bd_cell", self._cell, "", "-type -vlnv")
        define("apply_bd_automation", self._automate, "", "-rule -config")
        define("get_bd_pins", lambda call: self._find(call, "pins"), "-quiet")
        define("get_bd_intf_pins", lambda call: self._find(call, "buses"), "-quiet")
        define("get_bd_addr_spaces", lambda call: self._find(call, "spaces"), "-quiet")
        define("get_bd_addr_segs", lambda call: self._find(call, "segments"), "-quiet")
        define("connect_bd_net", self._net)
        define("connect_bd_intf_net", self._link)
        define("assign_bd_address", self._assign, "", "-offset -range -target_address_space")
        define("exclude_bd_addr_seg", self._exclude, "", "-target_address_space")
        define("validate_bd_design", self._validate)
        define("save_bd_design", lambda call: self._opened())

    def _opened(self):
        if not self.open:
            raise Refused("no block design is open")

    def _create(self, call: Call):
        self.tool.project()
        self.open = call.one() == "system"
        self._opened()

    def _cell(self, call: Call):
        self._opened()
        name, vlnv = call.one(), call.options["-vlnv"]
        if call.options.get("-type") != "ip" or name in self.cells or "/" in name:
            raise Refused(f"no cell {name} of type {call.options.get('-type')} can be made")
        if vlnv in CELLS:
            config = {"high_memory": "1"} if self.tool.board.platform.dram_bytes > 1 << 31 else {}
            self.cells[name] = CELLS[vlnv](vlnv, config if CELLS[vlnv] is ProcessingSystem else {})
        elif vlnv in self.tool.catalogue():
            cell = self.cells[name] = Accelerator(vlnv, {})
            cell.core = self.tool.packager.core
        else:
            raise Refused(f"the catalogue has no {vlnv}")
        return f"/{name}"

    def configure(self, handle: str, name: str, value: str) -> None:
        """Set a parameter of a cell."""
        cell = self.cells[handle.removeprefix("/")]
        parameter = name.removeprefix("CONFIG.")
        if not name.startswith("CONFIG.") or parameter not in PARAMETERS.get(type(cell), ()):
            raise Refused(f"{cell.vlnv} has no parameter {name}")
        cell.config[parameter] = value

    def value(self, handle: str, name: str) -> str:
        """A property of a pin: the clock's frequency."""
        cell, _, pin = handle.removeprefix("/").partition("/")
        found = self.cells.get(cell)
        if name != "CONFIG.FREQ_HZ" or not isinstance(found, ProcessingSystem) or pin != "pl_clk0":
            raise Refused(f"{handle} has no property {name}")
        return str(found.clock_hz)

    def _automate(self, call: Call):
        cell = self.cells[call.one().removeprefix("/")]
        if not isinstance(cell, ProcessingSystem) or call.options != {
                "-rule": "xilinx.com:bd_rule:zynq_ultra_ps_e", "-config": 'apply_board_preset "1"'}:
            raise Refused(f"no such automation: {call.options}")
        if self.tool.board_part is None:
            raise Refused("the project has no board")
        cell.config |= cell.PRESET

    def _find(self, call: Call, what: str):
        cell, _, name = call.one().removeprefix("/").partition("/")
        there = getattr(self.cells[cell], what)() if cell in self.cells else ()
        if found := [f"/{cell}/{one}" for one in there if fnmatchcase(one, name)]:
            return found
        if "-quiet" not in call.flags:
            raise Refused(f"there is no {call.one()}")
        return []

    def _split(self, handle: str) -> tuple[Cell, str]:
        cell, _, name = handle.removeprefix("/").partition("/")
        return self.cells[cell], name

    def _net(self, call: Call):
        ways = {pin: self._split(pin)[0].pins()[self._split(pin)[1]] for pin in call.rest}
        drivers = [pin for pin, way in ways.items() if way == "out"]
        if len(drivers) != 1 or len(ways) < 2:
            raise Refused(f"a net needs one driver and a load, not {call.rest}")
        for pin in set(ways) - set(drivers):
            if pin in self.nets:
                raise Refused(f"{pin} is driven already")
            self.nets[pin] = drivers[0]

    def _link(self, call: Call):
        ends = call.rest
        if len(ends) != 2 or any(end in self.links for end in ends):
            raise Refused(f"wanted are two free interfaces, not {ends}")
        sides = [self._split(end)[0].buses()[self._split(end)[1]].manager for end in ends]
        if sides[0] == sides[1]:
            raise Refused(f"{ends} are of the same side")
        self.links |= {ends[0]: ends[1], ends[1]: ends[0]}

    def reached(self, interface: str) -> str:
        """The interface at the far end of SmartConnects."""
        end = self.links[interface]
        cell, name = end.removeprefix("/").split("/")
        if type(self.cells[cell]).__name__ == "SmartConnect":
            return self.reached(f"/{cell}/{ {'S00_AXI': 'M00_AXI', 'M00_AXI': 'S00_AXI'}[name] }")
        return end

    def _assign(self, call: Call):
        space, segment = call.options["-target_address_space"], call.one()
        where = self._reachable(space, segment)
        base = int(call.options["-offset"], 0) if "-offset" in call.options else where[1]
        size = int(call.options["-range"], 0) if "-range" in call.options else where[2]
        if base % size or (space, segment) in self.mapped:
            raise Refused(f"{segment} cannot stand at {base:#x}")
        if space == "/ps/Data" and not (base in REGISTER_WINDOW and base + size - 1 in REGISTER_WINDOW):
            raise Refused(f"M_AXI_HPM0_FPD does not reach {base:#x}")
        self.mapped[space, segment] = base, size

    def _exclude(self, call: Call):
        space, segment = call.options["-target_address_space"], call.one()
        self._reachable(space, segment)
        self.excluded.add((space, segment))

    def _reachable(self, space: str, segment: str) -> tuple[str, int, int]:
        (cell, name), (target, part) = self._split(space), self._split(segment)
        out = f"{space.rsplit('/', 1)[0]}/{cell.spaces()[name]}"
        where = target.segments()[part]
        if self.reached(out) != f"/{segment.split('/')[1]}/{where[0]}":
            raise Refused(f"{space} does not reach {segment}")
        return where

    def _validate(self, call: Call):
        self._opened()
        for name, cell in self.cells.items():
            for pin in cell.needed():
                if f"/{name}/{pin}" not in self.nets:
                    raise Refused(f"/{name}/{pin} is not connected")
            for pin, low in cell.low_resets().items():
                driver = self.nets.get(f"/{name}/{pin}")
                if driver and self._split(driver)[0].low_resets().get(self._split(driver)[1]) != low:
                    raise Refused(f"/{name}/{pin} is a reset of the other polarity than {driver}")
            if isinstance(cell, Accelerator):
                self._check_frequency(cell)
            for label, bus in cell.buses().items():
                self._check_bus(f"/{name}/{label}", bus)
        if "/accelerator/interrupt" not in self.nets.values():
            raise Refused("the interrupt is not connected")
        self._check_addresses()
        self.valid = True

    def _check_frequency(self, cell: Accelerator) -> None:
        made = str(self.cells["ps"].clock_hz)
        for part in cell.core.parts.values():
            if part.parts.get("parameter:FREQ_HZ") and part.parts["parameter:FREQ_HZ"].properties["value"] != made:
                raise Refused(f"FREQ_HZ of {part.name} does not match {made}")

    def _check_bus(self, label: str, bus: Bus) -> None:
        if label not in self.links:
            raise Refused(f"{label} is not connected")
        far = self.reached(label)
        other = self._split(far)[0].buses()[self._split(far)[1]]
        if bus.bits and bus.bits != other.bits:
            raise Refused(f"{label} has {bus.bits} bits, {far} {other.bits}")
        clock = self.nets[f"{label.rsplit('/', 1)[0]}/{bus.clock}"]
        if clock != "/ps/pl_clk0":
            raise Refused(f"{label} is clocked by {clock}")

    def _check_addresses(self) -> None:
        for name, cell in self.cells.items():
            for space, out in cell.spaces().items():
                handle = f"/{name}/{space}"
                far = self.reached(f"/{name}/{out}")
                for part, (label, _, _) in self._split(far)[0].segments().items():
                    segment = f"{far.rsplit('/', 1)[0]}/{part}"
                    if label == far.rsplit("/", 1)[1] and (handle, segment) not in {*self.mapped, *self.excluded}:
                        raise Refused(f"{segment} is neither assigned to {handle} nor excluded")
