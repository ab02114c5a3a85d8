# SPDX-License-Identifier: Apache-2.0
"""This machine: consoles and exit codes, signals, processes, files that are whole or not there, cores and memory."""
