"""Membership inference: can an attacker tell forgotten samples (members) from samples that no model ever saw?

Members are the forget set; non-members are unseen: in the class scenario, test images of the same class. The ideal is
chance, 0.5; what retrained models score is the noise floor. A number only means something where the attack's
controls hold (`orthograd.metrics.controls`).
"""
