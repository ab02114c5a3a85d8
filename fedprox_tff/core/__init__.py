# SPDX-License-Identifier: Apache-2.0
"""What everything else is made of: the algebra of weights, named random streams, errors for the user."""
