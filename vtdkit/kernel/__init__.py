"""What a kernel gives a driver: CPUs, virtual time, interrupts, locks, RCU, pages; its checkers; three ways to run."""
