// SPDX-License-Identifier: Apache-2.0
// Multiplier of UltraScale+ (DSP48E2: 27 x 18 bits) for Yosys' pass xilinx_dsp, which packs registers, adder and cascade
// into the 7-series block only. The two blocks have the same registers A1 A2 B1 B2 M P, the same adder and the same
// cascade; the multiplier of the former is two bits wider. DSP48E1 with 27 bits at A stands for it; all its registers
// are off until the pass turns them on.
module \$__MUL27X18 (input [26:0] A, input [17:0] B, output [44:0] Y);
  parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 0, B_WIDTH = 0, Y_WIDTH = 0;
  wire [47:0] p;
  assign Y = p;
  DSP48E1 #(
    .A_INPUT("DIRECT"), .B_INPUT("DIRECT"), .USE_MULT("MULTIPLY"), .USE_SIMD("ONE48"), .USE_DPORT("FALSE"),
    .AREG(0), .ACASCREG(0), .ADREG(0), .BREG(0), .BCASCREG(0), .CREG(0), .DREG(0), .MREG(0), .PREG(0),
    .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0), .INMODEREG(0), .OPMODEREG(0)
  ) _TECHMAP_REPLACE_ (
    .A({{3{A[26]}}, A}), .B(B), .C(48'b0), .D(25'b0), .P(p),
    .ACIN(30'b0), .BCIN(18'b0), .PCIN(48'b0), .CARRYIN(1'b0),
    .OPMODE(7'b0000101), .ALUMODE(4'b0), .INMODE(5'b0), .CARRYINSEL(3'b0)
  );
endmodule
