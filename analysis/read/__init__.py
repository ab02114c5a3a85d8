# SPDX-License-Identifier: Apache-2.0
"""The runs of a figure or a comparison, found by their config.json."""
