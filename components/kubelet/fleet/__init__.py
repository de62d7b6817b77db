"""Simulated nodes by the thousand, in one process: what they register, how their Pods pass through life, who acts."""
