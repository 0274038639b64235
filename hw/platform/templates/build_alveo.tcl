# SPDX-License-Identifier: Apache-2.0
# From the Verilog to ./result/edge_moe.xclbin: IP, kernel object, and the vendor's linker against the card's shell.
#   vivado -mode batch -source build.tcl
# Written from UG835 and UG1393. It has not been run in the vendor's tool.

set here [file dirname [file normalize [info script]]]
source [file join $here facts.tcl]
if {[string first $facts::tool [version -short]] != 0} {
    puts "WARNING: these scripts were written for Vivado and Vitis $facts::tool; this is [version -short]."
}
if {[auto_execok v++] eq ""} {
    error "v++ is not on PATH: source Vitis' settings64.sh and run again."
}
source [file join $here package_ip.tcl]
source [file join $here package_xo.tcl]

set result [file join $here result]
file mkdir $result
exec -ignorestderr v++ --link --target hw --config [file join $here link.cfg] --temp_dir [file join $here work link] \
    --report_dir $result --log_dir $result --output [file join $result edge_moe.xclbin] [file join $here edge_moe.xo] \
    >@stdout
puts "Done: $result/edge_moe.xclbin; go on as README.md says."
