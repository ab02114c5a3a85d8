# SPDX-License-Identifier: Apache-2.0
"""Many runs: grids, searches, who works on what, and how far they are."""
