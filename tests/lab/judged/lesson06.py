"""Lesson 06."""

RIGHT: dict[str, dict[str, str]] = {
    "SWITCH_IDS": {
        "lock narrowed, out: return error": "the value is known when the lock is let go",
        "lock hardened to irqsave: iommu.lock": "interrupts off for so short harms nobody",
    },
}
