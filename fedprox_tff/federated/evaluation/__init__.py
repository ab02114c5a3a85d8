# SPDX-License-Identifier: Apache-2.0
"""How good models are: the global one, clients' own, and how much clients' gradients differ."""
