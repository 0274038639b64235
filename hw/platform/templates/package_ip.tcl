# SPDX-License-Identifier: Apache-2.0
# Packages the exported Verilog as an IP in ./ip: AXI interfaces, clock, reset, interrupt, register map.
# Written from UG835, UG1118 and UG994. It has not been run in the vendor's tool. build.tcl calls it.

set here [file dirname [file normalize [info script]]]
source [file join $here facts.tcl]

# The one object that a query gives; an error that names it otherwise.
proc only {what found} {
    if {[llength $found] != 1} {
        error "Wanted is one $what, not [llength $found]: the Verilog and facts.tcl are not of one kit."
    }
    return [lindex $found 0]
}

proc interface {name} {
    return [only "bus interface $name" [ipx::get_bus_interfaces -quiet $name -of_objects [ipx::current_core]]]
}

# A parameter of an interface, empty where it has none: what the Verilog's attributes give depends on the version.
proc interface_parameter {bus name} {
    set found [ipx::get_bus_parameters -quiet $name -of_objects [interface $bus]]
    return [expr {[llength $found] ? [get_property value $found] : ""}]
}

proc ensure {bus name value} {
    set found [interface_parameter $bus $name]
    if {$found eq ""} {
        set_property value $value [ipx::add_bus_parameter $name [interface $bus]]
    } elseif {$found ne $value} {
        error "$name of $bus must be $value, not $found."
    }
}

# Every AXI interface is clocked by the one clock; widths and polarities are those of the machine.
proc associate {core} {
    set clocked [split [interface_parameter $facts::clock ASSOCIATED_BUSIF] :]
    foreach bus [concat $facts::control [dict keys $facts::managers]] {
        interface $bus
        if {$bus ni $clocked} {
            ipx::associate_bus_interfaces -busif $bus -clock $facts::clock $core
        }
    }
    if {[interface_parameter $facts::clock ASSOCIATED_RESET] ne $facts::reset} {
        ipx::associate_bus_interfaces -clock $facts::clock -reset $facts::reset $core
    }
    ensure $facts::reset POLARITY ACTIVE_LOW
    ensure $facts::interrupt SENSITIVITY LEVEL_HIGH
    foreach {bus bits} $facts::managers {
        ensure $bus DATA_WIDTH $bits
    }
}

# The machine runs at whatever clock it is given; a frequency in the component would be compared with the design's.
proc leave_frequency_open {core} {
    if {[llength [ipx::get_bus_parameters -quiet FREQ_HZ -of_objects [interface $facts::clock]]]} {
        ipx::remove_bus_parameter FREQ_HZ [interface $facts::clock]
    }
    set_property ipi_drc {ignore_freq_hz true} $core
}

# The register map, from the table of golden/spec/regs.py. PYNQ's register_map and the .hwh file come from it.
proc describe_registers {core} {
    set map [ipx::get_memory_maps -quiet $facts::control -of_objects $core]
    if {[llength $map] == 0} {
        set map [ipx::add_memory_map $facts::control $core]
    }
    set_property slave_memory_map_ref $facts::control [interface $facts::control]
    set block [ipx::get_address_blocks -quiet -of_objects $map]
    if {[llength $block] == 0} {
        set block [ipx::add_address_block reg0 $map]
    }
    only "address block of $facts::control" $block
    set_property base_address 0 $block
    set_property range $facts::control_bytes $block
    set_property width 32 $block
    set_property usage register $block
    foreach entry $facts::registers {
        describe_register $block {*}$entry
    }
}

proc describe_register {block name offset bits access about bus args} {
    set register [ipx::add_register $name $block]
    set_property address_offset $offset $register
    set_property size $bits $register
    set_property access $access $register
    set_property description $about $register
    if {$bus ne ""} {
        set_property value $bus [ipx::add_register_parameter ASSOCIATED_BUSIF $register]
    }
    foreach field $args {
        lassign $field field_name low width field_access field_about
        set item [ipx::add_field $field_name $register]
        set_property bit_offset $low $item
        set_property bit_width $width $item
        set_property access $field_access $item
        set_property description $field_about $item
    }
}

file delete -force [file join $here ip]
create_project -force -part $facts::part package_ip [file join $here work package_ip]
add_files -norecurse [file join $here $facts::verilog]
set_property top $facts::top [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir [file join $here ip] -vendor $facts::vendor -library $facts::library \
    -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name $facts::top $core
set_property version $facts::version $core
set_property display_name "Edge-MoE accelerator" $core
set_property description "Machine $facts::machine, fingerprint $facts::fingerprint" $core
associate $core
leave_frequency_open $core
describe_registers $core
if {[info exists facts::shell]} {
    set_property sdx_kernel true $core
    set_property sdx_kernel_type rtl $core
    set_property vitis_drc {ctrl_protocol user_managed} $core
}
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
