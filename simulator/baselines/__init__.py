"""Other systems' policies, each as its paper says; where the released code differs, the paper's form counts."""
