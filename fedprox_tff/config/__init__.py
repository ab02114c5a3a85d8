# SPDX-License-Identifier: Apache-2.0
"""What one run does: every value that a flag sets, read from the command line, checked once, and frozen."""
