# SPDX-License-Identifier: Apache-2.0
"""The vendor's tool as far as the kits use it: projects, properties, runs (UG835), and programs that they start."""

from pathlib import Path

from golden.spec.boards import Board
from tests.hw.platform.stand_ins.block_design import BlockDesign
from tests.hw.platform.stand_ins.handoff import text
from tests.hw.platform.stand_ins.packager import PROPERTIES, Packager
from tests.hw.platform.stand_ins.tcl import Call, Interpreter, Refused

STEPS = ("route_design", "write_bitstream")
LINKER = {"--link", "--target", "--config", "--temp_dir", "--report_dir", "--log_dir", "--output"}


class Vivado:
    """Runs the scripts of a kit for ``board``. ``slack``: setup and hold, in ns, that a routed design is said to have;
    ``programs``: what is on PATH; ``boards``: whether the board's files are installed; ``fails``: a
    step at which the implementation ends."""

    def __init__(self, board: Board, *, infers: str = "all", slack: tuple[float, float] = (0.1, 0.02),
                 programs: tuple[str, ...] = ("bootgen", "dtc", "v++"), boards: bool = True, version: str = "2023.2",
                 fails: str = "", interpreter: type | None = None):
        self.board, self.slack, self.programs, self.boards = board, slack, programs, boards
        self.tcl, self.board_part = Interpreter(interpreter), None
        self._project: dict | None = None
        self.fails, self.status = fails, ""
        self.steps: list[str] = []
        self.written: dict[str, list[str]] = {}
        self.executed: list[list[str]] = []
        self.kernel: dict[str, str] = {}
        self.packager, self.design = Packager(self, infers), BlockDesign(self)
        self._define(version)

    def _define(self, version: str) -> None:
        define = self.tcl.define
        define("version", lambda call: version if call.flags else f"Vivado v{version}", "-short")
        define("create_project", self._create, "-force", "-part")
        define("close_project", lambda call: self._close())
        define("current_project", lambda call: self.project() and "project")
        define("current_fileset", lambda call: self.project() and "sources_1")
        define("add_files", self._add, "-norecurse", "-fileset")
        define("update_compile_order", lambda call: self.project() and None, "", "-fileset")
        define("update_ip_catalog", lambda call: self.project().__setitem__("catalogue", self._repository()))
        define("get_board_parts", self._board_parts, "-quiet -latest_file_version")
        define("get_files", lambda call: self._file(call.one()))
        define("make_wrapper", self._wrapper, "-top", "-files")
        define("set_property", self._set, "-dict")
        define("get_property", self._get)
        define("launch_runs", self._launch, "", "-to_step -jobs")
        define("wait_on_run", lambda call: self._run(call.one()) and None)
        define("get_runs", lambda call: self._run(call.one()))
        define("open_run", lambda call: self._run(call.one()) and None)
        for name, flags, options in (("utilization", "-hierarchical", "-hierarchical_depth -file"),
                                     ("timing_summary", "", "-max_paths -file"), ("power", "", "-file"),
                                     ("drc", "", "-file")):
            define(f"report_{name}", self._report, flags, options)
        define("write_hw_platform", self._platform, "-fixed -include_bit -force")
        define("package_xo", self._kernel, "-force",
               "-xo_path -kernel_name -ctrl_protocol -kernel_xml -ip_directory")
        define("auto_execok", lambda call: call.one() if call.one() in self.programs else "")
        self.tcl.tcl.create("py_exec_words", self._exec_words)
        self.tcl.tcl.eval("proc exec {args} { set said [py_exec_words {*}$args]; "
                          "if {$said ne {}} { error $said } }")

    # -- projects

    def project(self) -> dict:
        """The open project."""
        if self._project is None:
            raise Refused("no project is open")
        return self._project

    def sources(self) -> list[Path]:
        """Sources of the open project."""
        return self.project()["sources_1"]

    def top(self) -> str:
        """The top module of the open project."""
        return self.project()["top"]

    def catalogue(self) -> list[str]:
        """Components that the open project knows."""
        return self.project().get("catalogue", [])

    def _create(self, call: Call):
        if self._project is not None:
            raise Refused("a project is open")
        if call.options.get("-part") != self.board.device:
            raise Refused(f"there is no part {call.options.get('-part')} on {self.board.name}")
        name, folder = call.rest
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._project = {"name": name, "folder": Path(folder), "sources_1": [], "constrs_1": [], "top": ""}

    def _close(self):
        self.project()
        self._project = None

    def _add(self, call: Call):
        path = Path(call.one())
        if not path.is_file():
            raise Refused(f"there is no file {path}")
        self.project()[call.options.get("-fileset", "sources_1")].append(path)

    def _repository(self) -> list[str]:
        core = self.packager.core
        found = core is not None and core.saved and str(core.folder) in self.project().get("ip_repo_paths", [])
        return [core.vlnv] if found else []

    def _board_parts(self, call: Call):
        pattern = call.one()
        name = f"xilinx.com:{ {'kv260': 'kv260_som'}.get(self.board.name, self.board.name)}:part0"
        return [f"{name}:1.4"] if self.boards and pattern == f"{name}:*" else []

    def _file(self, name: str) -> str:
        if name != "system.bd" or not self.design.open:
            raise Refused(f"there is no file {name}")
        return name

    def _wrapper(self, call: Call):
        if not self.design.valid or "-top" not in call.flags or call.options.get("-files") != "system.bd":
            raise Refused("the block design is not valid")
        path = self.project()["folder"] / "system_wrapper.v"
        path.write_text("module system_wrapper;\nendmodule\n")
        return str(path)

    # -- properties

    def _set(self, call: Call):
        if "-dict" in call.flags:
            words = self.tcl.words(call.rest[0])
            pairs, target = list(zip(words[::2], words[1::2], strict=True)), call.rest[1]
        else:
            name, value, target = call.rest
            pairs = [(name, value)]
        for name, value in pairs:
            self._set_one(target, name, value)

    def _set_one(self, target: str, name: str, value: str) -> None:
        if target.startswith("/"):
            self.design.configure(target, name, value)
        elif target.startswith("ipx|"):
            item = self.packager.item(target)
            if name.lower() not in PROPERTIES[item.kind]:
                raise Refused(f"a {item.kind} has no property {name}")
            item.properties[name.lower()] = value
        elif target == "project" and name == "board_part":
            self.board_part = value
        elif target == "project" and name == "ip_repo_paths":
            self.project()[name] = self.tcl.words(value)
        elif target == "sources_1" and name == "top":
            self.project()["top"] = value
        else:
            raise Refused(f"{target} has no property {name}")

    def _get(self, call: Call):
        name, target = call.rest
        if target.startswith("/"):
            return self.design.value(target, name)
        if target.startswith("ipx|"):
            item = self.packager.item(target)
            if name.lower() not in item.properties:
                raise Refused(f"{item.name} has no property {name}")
            return item.properties[name.lower()]
        states = {"STATUS": self.status, "STATS.WNS": self.slack[0], "STATS.WHS": self.slack[1]}
        if target != "impl_1" or name not in states or not self.steps:
            raise Refused(f"{target} has no property {name}")
        return str(states[name])

    # -- runs and files

    def _run(self, name: str) -> str:
        if name != "impl_1":
            raise Refused(f"there is no run {name}")
        return name

    def _launch(self, call: Call):
        self._run(call.one())
        project, step = self.project(), call.options.get("-to_step")
        if step not in STEPS or not call.options.get("-jobs", "1").isdigit():
            raise Refused(f"there is no step {step}")
        if not self.design.valid or project["top"] != "system_wrapper" or not project["sources_1"]:
            raise Refused("the project has no valid top")
        if not project["constrs_1"]:
            raise Refused("the project has no constraints")
        self.steps.append(step)
        self.status = f"{step} {'Complete!' if self.slack[0] >= 0 else 'Complete, Failed Timing!'}"
        if self.fails == step:
            self.status = f"{step} ERROR"
            return
        handoff = project["folder"] / f"{project['name']}.gen/sources_1/bd/system/hw_handoff"
        handoff.mkdir(parents=True, exist_ok=True)
        (handoff / "system.hwh").write_text(text(self))
        if step == "write_bitstream":
            run = project["folder"] / f"{project['name']}.runs/impl_1"
            run.mkdir(parents=True, exist_ok=True)
            (run / "system_wrapper.bit").write_text("bits")

    def _report(self, call: Call):
        if not self.steps:
            raise Refused("nothing is implemented")
        Path(call.options["-file"]).write_text("report")

    def _platform(self, call: Call):
        if self.steps[-1:] != ["write_bitstream"] or not {"-fixed", "-include_bit"} <= call.flags:
            raise Refused("there is no bitstream to include")
        Path(call.one()).write_text("xsa")

    def _kernel(self, call: Call):
        core = self.packager.core
        if not (core and core.saved and str(core.folder) == call.options["-ip_directory"]):
            raise Refused("the IP is not saved")
        if core.properties.get("sdx_kernel") != "true" or core.properties.get("sdx_kernel_type") != "rtl":
            raise Refused("the IP is not marked as a kernel")
        if call.options["-kernel_name"] != core.properties["name"]:
            raise Refused(f"the IP is not called {call.options['-kernel_name']}")
        if not Path(call.options["-kernel_xml"]).is_file():
            raise Refused("there is no kernel.xml")
        self.kernel = call.options
        Path(call.options["-xo_path"]).write_text("xo")

    def _exec_words(self, *words) -> str:
        """Run a program's stand-in; what it complains of."""
        command = [str(word) for word in words if word not in ("-ignorestderr", ">@stdout")]
        self.executed.append(command)
        program, rest = command[0], command[1:]
        if program not in self.programs:
            return f"couldn't execute {program!r}"
        if program == "bootgen":
            image = Path(rest[rest.index("-image") + 1]).read_text().split()[2]
            if rest[2:] != ["-arch", "zynqmp", "-process_bitstream", "bin", "-w", "on"] or not Path(image).is_file():
                return "bootgen: wrong arguments"
            Path(f"{image}.bin").write_text("bin")
        elif program == "dtc":
            if rest[:6] != ["-@", "-I", "dts", "-O", "dtb", "-o"] or not Path(rest[7]).is_file():
                return "dtc: wrong arguments"
            Path(rest[6]).write_text("dtbo")
        else:
            return self._linked(rest)
        return ""

    @staticmethod
    def _linked(words: list[str]) -> str:
        if unknown := [word for word in words if word.startswith("-") and word not in LINKER]:
            return f"v++: unknown option {unknown[0]}"
        if not all(Path(path).is_file() for path in (words[-1], words[words.index("--config") + 1])):
            return "v++: a file is missing"
        Path(words[words.index("--output") + 1]).write_text("xclbin")
        return ""
