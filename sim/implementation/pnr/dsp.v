// SPDX-License-Identifier: Apache-2.0
// What Yosys' mul2dsp leaves of products, as DSP blocks of the Gowin GW5A; Yosys has no DSP map for this family.
// The block multiplies signed numbers and adds C, which its defaults select; every register inside is passed by.

module \$__MUL27X18 (input [26:0] A, input [17:0] B, output [44:0] Y);
  parameter A_WIDTH = 27;
  parameter B_WIDTH = 18;
  parameter Y_WIDTH = 45;
  parameter A_SIGNED = 1;
  parameter B_SIGNED = 1;
  wire [47:0] sum;
  MULTALU27X18 #(.MULT_RESET_MODE("SYNC")) _TECHMAP_REPLACE_ (
    .DOUT(sum), .A(A), .B(B), .C(48'b0), .D(26'b0), .SIA(27'b0), .CASI(48'b0), .ACCSEL(1'b0), .PSEL(1'b0), .ASEL(1'b0),
    .PADDSUB(1'b0), .CSEL(1'b0), .CASISEL(1'b0), .ADDSUB(2'b0), .CLK(2'b0), .CE(2'b0), .RESET(2'b0));
  assign Y = sum[44:0];
endmodule
