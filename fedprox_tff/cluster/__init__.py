# SPDX-License-Identifier: Apache-2.0
"""A cluster of machines on Ray: how to join it, and workers that do a round's work on clients there."""
