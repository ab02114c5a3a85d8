# SPDX-License-Identifier: Apache-2.0
"""What tables hold: means, bands, differences, ranks."""
