"""Tests of what the project is deployed with: manifests, units, workflows."""
