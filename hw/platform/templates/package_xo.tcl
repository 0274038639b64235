# SPDX-License-Identifier: Apache-2.0
# Makes the kernel object ./edge_moe.xo of the IP in ./ip and of kernel.xml. build.tcl calls it after package_ip.tcl.
# Written from UG835 and UG1393. It has not been run in the vendor's tool.

set here [file dirname [file normalize [info script]]]
source [file join $here facts.tcl]

package_xo -force -xo_path [file join $here edge_moe.xo] -kernel_name $facts::top -ctrl_protocol user_managed \
    -kernel_xml [file join $here kernel.xml] -ip_directory [file join $here ip]
