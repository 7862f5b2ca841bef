"""Linux drivers/iommu, file for file: the core API, its users, and (in `intel/`) the VT-d
driver before the series.
"""
