"""The real items that fuzzers begin with, below stac/ of the shared data."""

SEEDS = [
    "earth_search/v0/S2A_17SPR_20221106_0_L2A.json",
    "earth_search/v1/same_day_20231008_L8_and_S2_2_items.json",
    "earth_search/c1/13TDE_2024_10_items.json",
    "planetary_computer/landsat/zone1_wrong_epsg_3271_12_items.json",
    "planetary_computer/sentinel2/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
    "cdse/S2B_20200322_T36NYH_N0500.json",
    "odd/S2A_T60CWS_20240109_antimeridian.json",
    "usgs/LT05_L2SR_087017_20090621_20200827_02_T2_SR_stac.json",
]
