#include "proxy/wire/postgres/rows.h"

#include <limits>

#include "proxy/wire/postgres/body_reader.h"
#include "proxy/wire/postgres/body_writer.h"

namespace clonesafe::wire::postgres {
namespace {

constexpr std::size_t kMaxColumns = std::numeric_limits<std::uint16_t>::max();

void write_count(BodyWriter& writer, std::size_t count) {
  if (count > kMaxColumns) writer.refuse(std::to_string(count) + " columns");
  writer.u16(static_cast<std::uint16_t>(count));
}

}  // namespace

Result<std::vector<Column>> parse_row_description(std::string_view body) {
  BodyReader reader("RowDescription", body);
  std::vector<Column> columns;
  const auto count = reader.u16();
  for (std::uint16_t i = 0; i < count && reader.good(); ++i) {
    Column column;
    column.name = reader.text();
    column.table = reader.u32();
    column.attribute = reader.u16();
    column.type = reader.u32();
    column.size = static_cast<std::int16_t>(reader.u16());
    column.modifier = reader.i32();
    const auto format = reader.u16();
    if (format > 1) reader.refuse("format " + std::to_string(format));
    column.binary = format == 1;
    columns.push_back(column);
  }
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return columns;
}

Status append_row_description(std::string& out, std::span<const Column> columns) {
  BodyWriter writer(out, ServerMessage::kRowDescription);
  write_count(writer, columns.size());
  for (const auto& column : columns) {
    writer.text(column.name);
    writer.u32(column.table);
    writer.u16(column.attribute);
    writer.u32(column.type);
    writer.u16(static_cast<std::uint16_t>(column.size));
    writer.i32(column.modifier);
    writer.u16(column.binary ? 1 : 0);
  }
  return writer.finish();
}

Status parse_data_row(std::string_view body, std::span<Value> values) {
  BodyReader reader("DataRow", body);
  if (const auto count = reader.u16(); count != values.size())
    reader.refuse(std::to_string(count) + " columns, not " + std::to_string(values.size()));
  for (auto& value : values) {
    value.reset();
    const auto size = reader.i32();
    if (size >= 0)
      value = reader.bytes(static_cast<std::size_t>(size));
    else if (size != -1)
      reader.refuse("a value of " + std::to_string(size) + " bytes");
  }
  return reader.finish();
}

Status append_data_row(std::string& out, std::span<const Value> values) {
  BodyWriter writer(out, ServerMessage::kDataRow);
  write_count(writer, values.size());
  for (const auto& value : values) {
    writer.i32(value ? static_cast<std::int32_t>(value->size()) : -1);
    writer.bytes(value.value_or(""));
  }
  return writer.finish();
}

Result<std::vector<std::uint32_t>> parse_parameter_description(std::string_view body) {
  BodyReader reader("ParameterDescription", body);
  std::vector<std::uint32_t> types;
  const auto count = reader.u16();
  for (std::uint16_t i = 0; i < count && reader.good(); ++i) types.push_back(reader.u32());
  if (auto finished = reader.finish(); !finished) return fail(std::move(finished).error());
  return types;
}

}  // namespace clonesafe::wire::postgres
