# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the commands of the IP packager (UG1118): ``ipx::``."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.hw.platform.stand_ins.tcl import Call, Refused
from tests.hw.platform.stand_ins.verilog import Top, read

PROPERTIES = {
    "core": {"name", "version", "display_name", "description", "sdx_kernel", "sdx_kernel_type", "vitis_drc", "ipi_drc",
             "core_revision", "vendor", "library"},
    "interface": {"slave_memory_map_ref"}, "map": set(), "block": {"base_address", "range", "width", "usage"},
    "register": {"address_offset", "size", "access", "description"},
    "field": {"bit_offset", "bit_width", "access", "description"}, "parameter": {"value"},
}
"""Properties of each kind of object that the scripts may set."""


@dataclass
class Item:
    """An object of a component: its kind, its properties, its parts by name."""

    kind: str
    name: str
    properties: dict[str, str] = field(default_factory=dict)
    parts: dict[str, "Item"] = field(default_factory=dict)


@dataclass
class Core(Item):
    """A component: what the Verilog says, and whether it was saved."""

    top: Top | None = None
    vlnv: str = ""
    saved: bool = False
    folder: Path | None = None


class Packager:
    """``infers``: what the packager makes of the Verilog besides interfaces: ``all``, also the memory map of a register
    port and a frequency of the clock; ``parameters``, those that stand in attributes; ``interfaces``, nothing more."""

    def __init__(self, tool, infers: str):
        self.tool, self.infers, self.core = tool, infers, None
        define = tool.tcl.define
        define("ipx::package_project", self._package, "-import_files -force", "-root_dir -vendor -library -taxonomy")
        define("ipx::current_core", lambda call: self._handle("core"))
        define("ipx::get_bus_interfaces", lambda call: self._get(call, "interface"), "-quiet", "-of_objects")
        define("ipx::get_bus_parameters", lambda call: self._get(call, "parameter"), "-quiet", "-of_objects")
        define("ipx::get_memory_maps", lambda call: self._get(call, "map"), "-quiet", "-of_objects")
        define("ipx::get_address_blocks", lambda call: self._get(call, "block"), "-quiet", "-of_objects")
        for command, kind in (("memory_map", "map"), ("bus_parameter", "parameter"), ("address_block", "block"),
                              ("register", "register"), ("field", "field"), ("register_parameter", "parameter")):
            define(f"ipx::add_{command}", lambda call, kind=kind: self._add(call, kind))
        define("ipx::remove_bus_parameter", self._remove)
        define("ipx::associate_bus_interfaces", self._associate, "", "-busif -clock -reset")
        define("ipx::create_xgui_files", self._seen)
        define("ipx::update_checksums", self._seen)
        define("ipx::check_integrity", self._check)
        define("ipx::save_core", self._save)

    def _package(self, call: Call):
        sources = self.tool.sources()
        if len(sources) != 1:
            raise Refused(f"the project has {len(sources)} sources")
        top = read(sources[0].read_text(), self.tool.top())
        name = call.options["-vendor"], call.options["-library"]
        self.core = core = Core("core", top.name, {"vendor": name[0], "library": name[1]}, top=top,
                                folder=Path(call.options["-root_dir"]))
        for label, one in top.interfaces.items():
            parameters = {key: Item("parameter", key, {"value": value}) for key, value in one.parameters.items()
                          if self.infers != "interfaces"}
            core.parts[f"interface:{label}"] = Item("interface", label, parts={
                f"parameter:{key}": item for key, item in parameters.items()})
            if self.infers == "all" and one.kind == "signal:clock":
                core.parts[f"interface:{label}"].parts["parameter:FREQ_HZ"] = Item(
                    "parameter", "FREQ_HZ", {"value": "100000000"})
            if self.infers == "all" and one.kind == "interface:aximm" and not one.manager:
                block = Item("block", "reg0", {"range": str(1 << int(one.parameters["ADDR_WIDTH"]))})
                core.parts[f"map:{label}"] = Item("map", label, parts={"block:reg0": block})

    def item(self, handle: str) -> Item:
        """The object of a handle: ``ipx``, then kind and name of each step, with bars between."""
        words = handle.split("|")
        if words[:1] != ["ipx"] or self.core is None:
            raise Refused(f"{handle!r} is no object of a component")
        found: Item = self.core
        for step in words[2:]:
            if step not in found.parts:
                raise Refused(f"there is no {step}")
            found = found.parts[step]
        return found

    def _handle(self, *steps: str) -> str:
        return "|".join(("ipx", *steps))

    def _get(self, call: Call, kind: str):
        owner = call.options.get("-of_objects")
        if owner is None:
            raise Refused("-of_objects is missing")
        wanted = f"{kind}:{call.one() if call.rest else '*'}"
        if found := [key for key in self.item(owner).parts if fnmatchcase(key, wanted)]:
            return [self._handle(*owner.split("|")[1:], key) for key in found]
        if "-quiet" not in call.flags:
            raise Refused(f"there is no {wanted}")
        return []

    def _add(self, call: Call, kind: str):
        name, owner = call.rest
        parent, key = self.item(owner), f"{kind}:{name}"
        if kind not in {"core": ("map",), "interface": ("parameter",), "map": ("block",), "block": ("register",),
                        "register": ("field", "parameter")}.get(parent.kind, ()):
            raise Refused(f"a {parent.kind} holds no {kind}")
        if key in parent.parts:
            raise Refused(f"there is a {key} already")
        parent.parts[key] = Item(kind, name)
        return self._handle(*owner.split("|")[1:], key)

    def _remove(self, call: Call):
        name, owner = call.rest
        if self.item(owner).parts.pop(f"parameter:{name}", None) is None:
            raise Refused(f"there is no parameter {name}")

    def _associate(self, call: Call):
        self.item(call.one())
        clock = self.item(self._handle("core", f"interface:{call.options['-clock']}"))
        if bus := call.options.get("-busif"):
            self.item(self._handle("core", f"interface:{bus}"))
            listed = clock.parts.setdefault("parameter:ASSOCIATED_BUSIF", Item("parameter", "ASSOCIATED_BUSIF", {}))
            listed.properties["value"] = ":".join(filter(None, (listed.properties.get("value"), bus)))
        if reset := call.options.get("-reset"):
            clock.parts["parameter:ASSOCIATED_RESET"] = Item("parameter", "ASSOCIATED_RESET", {"value": reset})

    def _seen(self, call: Call):
        self.item(call.one())

    def _check(self, call: Call):
        core = self.item(call.one())
        labels = {part.name for part in core.parts.values() if part.kind == "interface"}
        for part in core.parts.values():
            if part.kind == "map":
                self._check_map(part, labels)
        wanted = {label for label, one in core.top.interfaces.items()
                  if one.kind == "interface:aximm" and not one.manager}
        for label in wanted:
            ref = core.parts[f"interface:{label}"].properties.get("slave_memory_map_ref")
            if f"map:{ref}" not in core.parts:
                raise Refused(f"{label} has no memory map")

    @staticmethod
    def _check_map(memory_map: Item, labels: set[str]) -> None:
        for block in memory_map.parts.values():
            end, size = 0, int(block.properties["range"], 0)
            for register in sorted(block.parts.values(), key=lambda one: int(one.properties["address_offset"], 0)):
                offset, bits = int(register.properties["address_offset"], 0), int(register.properties["size"])
                if offset < end or offset + bits // 8 > size:
                    raise Refused(f"register {register.name} at {offset} overlaps another or leaves its block")
                end = offset + bits // 8
                for part in register.parts.values():
                    if part.kind == "parameter" and part.properties["value"] not in labels:
                        raise Refused(f"register {register.name} belongs to {part.properties['value']}, which is no "
                                      "interface")
                    if part.kind == "field" and int(part.properties["bit_offset"]) + int(
                            part.properties["bit_width"]) > bits:
                        raise Refused(f"field {part.name} leaves register {register.name}")

    def _save(self, call: Call):
        core = self.item(call.one())
        values = core.properties
        core.vlnv = ":".join(values[name] for name in ("vendor", "library", "name", "version"))
        core.folder.mkdir(parents=True, exist_ok=True)
        (core.folder / "component.xml").write_text(core.vlnv)
        core.saved = True
