# SPDX-License-Identifier: Apache-2.0
"""``make ablation``: what each idea of the Edge-MoE paper is worth here, each switched off."""
