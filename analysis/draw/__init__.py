# SPDX-License-Identifier: Apache-2.0
"""Figures: what they show, and how it is drawn."""
