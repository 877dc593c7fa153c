"""Simulators by mechanism: reaction networks, molecules, closed forms."""
