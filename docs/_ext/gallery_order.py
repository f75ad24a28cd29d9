"""The order of the gallery: the most wanted first."""

ORDER = [
    "quickstart",
    "plot_digits_codes",
    "plot_denoising",
    "plot_generate_digits",
    "plot_convolutional",
    "plot_number_of_codes",
    "plot_ordered_codes",
    "plot_outliers_plane",
    "plot_look_inside",
    "plot_explain_outliers",
    "plot_false_discoveries",
    "plot_drift",
    "plot_stream",
    "plot_sensor_curves",
    "plot_mixed_columns",
    "plot_imputation",
    "plot_text",
    "plot_grid_search",
    "plot_save_and_ship",
    "plot_own_network",
    "plot_own_part",
    "plot_latents",
    "plot_linear_path",
]


def place(filename):
    name = filename.removesuffix(".py")
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
