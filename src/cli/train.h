#pragma once

#include <CLI/App.hpp>

// `fewbits train`: federated averaging on real data, plans side by side.
void add_train_command(CLI::App& app);
