# SPDX-License-Identifier: Apache-2.0
"""Training of multi-task vision transformers with mixtures of experts, on generated scenes or folders of pictures."""
