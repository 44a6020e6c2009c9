//! The Pod Security Standards, exactly as Kubernetes' own PodSecurity admission evaluates them.
