#include "validate/importance/importance_report.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "formats/json/json_writer.h"
#include "validate/text_table.h"

namespace narrow {
namespace {

std::string Fixed(double value, int digits) {
  return std::isnan(value) ? "-" : absl::StrFormat("%.*f", digits, value);
}

// Figures of an InputChange, in the order of the headings below.
const std::vector<TextTable::Column>& ChangeColumns() {
  static const std::vector<TextTable::Column> columns = {
      {"gain"}, {"distance"}, {"cosine"}, {"Pearson"}, {"covariance"}};
  return columns;
}

void AppendChange(const InputChange& change, std::vector<std::string>* row) {
  row->push_back(Fixed(change.gain, 2));
  row->push_back(Fixed(change.distance, 4));
  row->push_back(Fixed(change.cosine, 4));
  row->push_back(Fixed(change.pearson, 4));
  row->push_back(Fixed(change.covariance, 4));
}

std::string TensorTable(const ImportanceStatistics& statistics) {
  std::vector<TextTable::Column> columns = {
      {"layer"},    {"tensor", TextTable::kLeft},
      {"mean"},     {"deviation"},
      {"skewness"}, {"kurtosis"},
      {"entropy"},  {"sum E[x^2]"}};
  columns.insert(columns.end(), ChangeColumns().begin(), ChangeColumns().end());
  columns.push_back({"no data"});
  TextTable table(columns);
  for (const TensorStatistics& t : statistics.tensors) {
    std::vector<std::string> row = {
        t.layer < 0 ? "-" : absl::StrCat(t.layer),
        t.tensor,
        Fixed(t.mean, 4),
        Fixed(t.deviation, 4),
        Fixed(t.skewness, 4),
        Fixed(t.kurtosis, 4),
        std::isnan(t.entropy_share)
            ? "-"
            : absl::StrFormat("%.2f%%", 100 * t.entropy_share),
        Fixed(t.energy, 4)};
    AppendChange(t.change, &row);
    row.push_back(t.n_without_data == 0
                      ? "-"
                      : absl::StrCat(t.n_without_data, " of ", t.n_matrices));
    table.AddRow(std::move(row));
  }
  return table.Render();
}

std::string LayerTable(const ImportanceStatistics& statistics) {
  std::vector<TextTable::Column> columns = {{"layer"}, {"sum E[x^2]"}};
  columns.insert(columns.end(), ChangeColumns().begin(), ChangeColumns().end());
  TextTable table(columns);
  for (const LayerStatistics& layer : statistics.layers) {
    std::vector<std::string> row = {absl::StrCat(layer.layer),
                                    Fixed(layer.energy, 4)};
    AppendChange(layer.change, &row);
    table.AddRow(std::move(row));
  }
  return table.Render();
}

void NumberOrNull(const char* key, double value, JsonWriter* json) {
  json->Key(key);
  if (std::isfinite(value)) {
    json->Number(value);
  } else {
    json->Null();
  }
}

void WriteChange(const InputChange& change, JsonWriter* json) {
  NumberOrNull("gain", change.gain, json);
  NumberOrNull("distance", change.distance, json);
  NumberOrNull("cosine", change.cosine, json);
  NumberOrNull("pearson", change.pearson, json);
  NumberOrNull("covariance", change.covariance, json);
}

void WriteTensor(const TensorStatistics& tensor, JsonWriter* json) {
  json->BeginObject();
  json->Key("tensor").String(tensor.tensor);
  json->Key("of").String(tensor.has_means ? "means" : "mean squares");
  json->Key("columns").Integer(tensor.n_columns);
  json->Key("matrices").Integer(tensor.n_matrices);
  json->Key("matrices_without_data").Integer(tensor.n_without_data);
  NumberOrNull("mean", tensor.mean, json);
  NumberOrNull("deviation", tensor.deviation, json);
  NumberOrNull("skewness", tensor.skewness, json);
  NumberOrNull("kurtosis", tensor.kurtosis, json);
  NumberOrNull("entropy_share", tensor.entropy_share, json);
  NumberOrNull("sum_mean_sq", tensor.energy, json);
  WriteChange(tensor.change, json);
  json->EndObject();
}

}  // namespace

std::string ImportanceTables(const ImportanceStatistics& statistics) {
  return absl::StrCat(
      "mean, deviation, skewness and kurtosis of the columns' mean ",
      statistics.all_have_means
          ? "inputs"
          : "squares (the file does not record the means of all tensors)",
      ";\ngain, distance, cosine, Pearson and covariance against the layer "
      "before\n\n",
      TensorTable(statistics), "\n", LayerTable(statistics));
}

std::string ImportanceStatisticsJson(const ImportanceCollection& collection,
                                     const ImportanceStatistics& statistics) {
  JsonWriter json(JsonWriter::kIndented);
  json.BeginObject();
  json.Key("path").String(collection.path);
  json.Key("datasets").BeginArray();
  for (const std::string& name : collection.datasets) {
    json.String(name);
  }
  json.EndArray();
  json.Key("chunks").Integer(collection.n_chunks);
  json.Key("chunk_size").Integer(collection.chunk_size);
  json.Key("tensors").BeginArray();
  for (const TensorStatistics& tensor : statistics.tensors) {
    WriteTensor(tensor, &json);
  }
  json.EndArray();
  json.Key("layers").BeginArray();
  for (const LayerStatistics& layer : statistics.layers) {
    json.BeginObject();
    json.Key("layer").Integer(layer.layer);
    json.Key("columns").Integer(layer.n_columns);
    NumberOrNull("sum_mean_sq", layer.energy, &json);
    WriteChange(layer.change, &json);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.text();
}

}  // namespace narrow
