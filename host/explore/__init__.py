# SPDX-License-Identifier: Apache-2.0
"""Design-space exploration: candidate machines for a board, their cycles and areas, the Pareto front."""
