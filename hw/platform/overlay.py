# SPDX-License-Identifier: Apache-2.0
"""Device-tree overlay of a kit: the bitstream, clock and port widths, the accelerator as a UIO node, its buffer."""

from golden.spec.boards.platform import ZynqPlatform
from hw.platform.choice import Choice
from hw.platform.facts import CONTROL_BYTES
from hw.verilog import NAME

NODE = NAME.replace("_", "-")
"""What the driver looks for (host/driver/sysfs.py)."""
LEVEL_HIGH = 4
"""Flag of a level-high interrupt, as Linux numbers them."""
TEXT = """\
// SPDX-License-Identifier: Apache-2.0
// Overlay for {board}, machine {machine}; written by make platform. No board has loaded it.
//   dtc -@ -I dts -O dtb -o {name}.dtbo {name}.dts
/dts-v1/;
/plugin/;

&fpga_full {{
	firmware-name = "{name}.bit.bin";
	resets = <&zynqmp_reset {reset}>;

	clocking0: clocking0 {{
		compatible = "xlnx,fclk";
		#clock-cells = <0>;
		clocks = <&zynqmp_clk {clock}>;
		assigned-clocks = <&zynqmp_clk {clock}>;
		assigned-clock-rates = <{hz}>;
		clock-output-names = "fabric_clk";
	}};

	afi0: afi0 {{
		compatible = "xlnx,afi-fpga";
		config-afi = {widths};
	}};
}};

&amba {{
	#address-cells = <2>;
	#size-cells = <2>;

	{node}@{base:x} {{
		compatible = "{node},accelerator", "generic-uio";
		reg = <0x{base_high:x} 0x{base_low:x} 0x0 0x{bytes:x}>;
		interrupt-parent = <&gic>;
		interrupts = <0 {interrupt} {level}>;
		clock-frequency = <{hz}>;
	}};

	{node}-buffer {{
		compatible = "ikwzm,u-dma-buf";
		device-name = "{node}-buffer";
		size = <{size}>;
	}};
}};
"""


def text(choice: Choice) -> str:
    """The whole file."""
    platform = choice.board.platform
    assert isinstance(platform, ZynqPlatform)
    family = platform.facts
    numbers = sorted(family.gp[port] for port in choice.memory.values())
    widths = [f"<{register} {family.afi_width}>" for n in numbers for register in (2 * n, 2 * n + 1)]
    widths.append(f"<{family.afi_control[0]} {family.afi_control[1]}>")
    high, low = divmod(choice.buffer_bytes, 1 << 32)
    base_high, base_low = divmod(family.control_base, 1 << 32)
    return TEXT.format(
        board=choice.board.name, machine=choice.machine.name, name=NAME, node=NODE, reset=family.reset_id,
        clock=family.clock_id, hz=choice.clock_hz, widths=", ".join(widths), base=family.control_base,
        base_high=base_high, base_low=base_low, bytes=CONTROL_BYTES, interrupt=family.interrupt_spi, level=LEVEL_HIGH,
        size=f"0x{high:x} 0x{low:x}" if high else f"0x{low:x}")


SHELL = '{\n    "shell_type": "XRT_FLAT",\n    "num_slots": "1"\n}\n'
"""``shell.json`` of an application that dfx-mgr loads as a whole."""
