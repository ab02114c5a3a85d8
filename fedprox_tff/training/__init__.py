# SPDX-License-Identifier: Apache-2.0
"""One run: what it is built of, its loop, its folder, its rows and checkpoints."""
