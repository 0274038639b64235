# SPDX-License-Identifier: Apache-2.0
# From the IP to a bitstream: block design, synthesis, implementation, reports, files for the board in ./result.
#   vivado -mode batch -source build.tcl
# Written from UG835, UG994, PG201 and PG247. It has not been run in the vendor's tool.

set here [file dirname [file normalize [info script]]]
source [file join $here facts.tcl]
if {[string first $facts::tool [version -short]] != 0} {
    puts "WARNING: these scripts were written for Vivado $facts::tool; this is [version -short]."
}
source [file join $here package_ip.tcl]

proc pin {name} { return [only "pin $name" [get_bd_pins -quiet $name]] }
proc bus {name} { return [only "interface $name" [get_bd_intf_pins -quiet $name]] }
proc segment {name} { return [only "address segment $name" [get_bd_addr_segs -quiet $name]] }
proc space {name} { return [only "address space $name" [get_bd_addr_spaces -quiet $name]] }

# The processing system: the board's preset, then just the ports that are used, at the width of the machine's.
proc configure_ps {ps} {
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $ps
    set config [list CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__USE__IRQ0 1 \
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ [expr {$facts::clock_hz / 1e6}] \
        CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
        CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0]
    foreach {port number} $facts::all_ports {
        lappend config CONFIG.PSU__USE__S_AXI_GP$number [expr {$port in [dict values $facts::memory]}]
    }
    foreach {manager port} $facts::memory {
        set number [dict get $facts::all_ports $port]
        lappend config CONFIG.PSU__SAXIGP${number}__DATA_WIDTH [dict get $facts::managers $manager]
    }
    set_property -dict $config $ps
}

# The clock that the processing system really makes. The overlay states the one asked for, so both must agree.
proc check_clock {} {
    set made [get_property CONFIG.FREQ_HZ [pin ps/pl_clk0]]
    if {abs($made - $facts::clock_hz) > $facts::clock_hz / 1000.0} {
        error "The processing system makes [expr {$made / 1e6}] MHz for the [expr {$facts::clock_hz / 1e6}] asked\
            for: make the kit again with that clock (make platform ARGS=\"--clock MHZ\")."
    }
}

# A SmartConnect with one side each: adapts identifiers and addresses, and nothing else where widths agree.
proc link {from to} {
    set cell link_[string map {/ _} $from]
    set made [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $cell]
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} $made
    connect_bd_intf_net [bus $from] [bus $cell/S00_AXI]
    connect_bd_intf_net [bus $cell/M00_AXI] [bus $to]
    return $cell
}

proc connect {} {
    set clocks [list [pin accelerator/$facts::clock] [pin reset/slowest_sync_clk]]
    set links [list [link ps/M_AXI_$facts::control_port accelerator/$facts::control]]
    lappend clocks [pin ps/maxi[string tolower $facts::control_port]_aclk]
    foreach {manager port} $facts::memory {
        lappend links [link accelerator/$manager ps/S_AXI_${port}_FPD]
        lappend clocks [pin ps/saxi[string tolower $port]_fpd_aclk]
    }
    set resets [list]
    foreach cell $links {
        lappend clocks [pin $cell/aclk]
        lappend resets [pin $cell/aresetn]
    }
    connect_bd_net [pin ps/pl_clk0] {*}$clocks
    connect_bd_net [pin ps/pl_resetn0] [pin reset/ext_reset_in]
    connect_bd_net [pin reset/interconnect_aresetn] {*}$resets
    connect_bd_net [pin reset/peripheral_aresetn] [pin accelerator/$facts::reset]
    connect_bd_net [pin accelerator/$facts::interrupt] [pin ps/pl_ps_irq0]
}

# Registers where the overlay says they are; to each memory bus the DRAM, and nothing else that its port reaches.
proc map_addresses {} {
    assign_bd_address -offset $facts::control_base -range $facts::control_bytes -target_address_space [space ps/Data] \
        [segment accelerator/$facts::control/*]
    foreach {manager port} $facts::memory {
        set number [dict get $facts::all_ports $port]
        set target [space accelerator/$manager]
        set memory [list [segment ps/SAXIGP$number/${port}_DDR_LOW]]
        if {$facts::high_memory} {
            lappend memory [segment ps/SAXIGP$number/${port}_DDR_HIGH]
        }
        foreach part $memory {
            assign_bd_address -target_address_space $target $part
        }
        foreach other [get_bd_addr_segs -quiet ps/SAXIGP$number/${port}_*] {
            if {$other ni $memory} {
                exclude_bd_addr_seg -target_address_space $target $other
            }
        }
    }
}

proc run_to {step} {
    launch_runs impl_1 -to_step $step -jobs 4
    wait_on_run impl_1
    set status [get_property STATUS [get_runs impl_1]]
    if {![string match "$step Complete*" $status]} {
        error "The run impl_1 did not come to the end of $step: $status."
    }
}

# Written whatever the timing is; no bitstream is made of a design that misses it.
proc report {folder} {
    open_run impl_1
    report_utilization -hierarchical -hierarchical_depth 4 -file [file join $folder utilization.txt]
    report_timing_summary -max_paths 20 -file [file join $folder timing.txt]
    report_power -file [file join $folder power.txt]
    report_drc -file [file join $folder drc.txt]
    set slack [get_property STATS.WNS [get_runs impl_1]]
    set hold [get_property STATS.WHS [get_runs impl_1]]
    set period [expr {1e9 / $facts::clock_hz}]
    puts "Worst slack: setup $slack ns, hold $hold ns, at a period of [format %.3f $period] ns."
    if {$slack < 0} {
        set reached [expr {int(1000 / ($period - $slack))}]
        error "Timing is missed by [expr {-$slack}] ns. About $reached MHz would do: make the kit again with\
            make platform BOARD=$facts::board ARGS=\"--clock $reached\", or choose another strategy. The paths are\
            in result/timing.txt."
    }
    if {$hold < 0} {
        error "Hold is missed by [expr {-$hold}] ns: see result/timing.txt."
    }
}

create_project -force -part $facts::part build [file join $here work build]
set boards [get_board_parts -quiet -latest_file_version "$facts::board_part:*"]
if {[llength $boards] == 0} {
    error "Vivado has no board files $facts::board_part: install them (Tools, Vivado Store, Boards) and run again."
}
set_property board_part [lindex $boards end] [current_project]
set_property ip_repo_paths [list [file join $here ip]] [current_project]
update_ip_catalog

create_bd_design system
configure_ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
create_bd_cell -type ip -vlnv $facts::vendor:$facts::library:$facts::top:$facts::version accelerator
check_clock
connect
map_addresses
validate_bd_design
save_bd_design

set design [get_files system.bd]
set wrapper [make_wrapper -files $design -top]
add_files -norecurse $wrapper
set_property top system_wrapper [current_fileset]
add_files -fileset constrs_1 -norecurse [file join $here edge_moe.xdc]
update_compile_order -fileset sources_1

set result [file join $here result]
file mkdir $result
run_to route_design
report $result
run_to write_bitstream
file copy -force [file join $here work build build.runs impl_1 system_wrapper.bit] [file join $result edge_moe.bit]
file copy -force [file join $here work build build.gen sources_1 bd system hw_handoff system.hwh] \
    [file join $result edge_moe.hwh]
write_hw_platform -fixed -include_bit -force [file join $result edge_moe.xsa]

# What Linux loads: the bitstream without its header, and the overlay.
set image [open [file join $result edge_moe.bif] w]
puts $image "all: { [file join $result edge_moe.bit] }"
close $image
exec -ignorestderr bootgen -image [file join $result edge_moe.bif] -arch zynqmp -process_bitstream bin -w on
if {[auto_execok dtc] ne ""} {
    exec -ignorestderr dtc -@ -I dts -O dtb -o [file join $result edge_moe.dtbo] [file join $here edge_moe.dts]
} else {
    file copy -force [file join $here edge_moe.dts] $result
    puts "dtc is not here: on the board, dtc -@ -I dts -O dtb -o edge_moe.dtbo edge_moe.dts"
}
if {[file exists [file join $here shell.json]]} {
    file copy -force [file join $here shell.json] $result
}
puts "Done: copy $result to the board and go on as README.md says."
