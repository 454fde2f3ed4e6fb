// Counts the words on stdin: most frequent first, then by alphabet.
program Main;

{$mode objfpc}{$H+}

type
  TEntry = record
    Word: string;
    Count: Integer;
  end;

var
  Entries: array of TEntry;

procedure Add(const Word: string);
var
  I: Integer;
begin
  if Word = '' then Exit;
  for I := 0 to High(Entries) do
    if Entries[I].Word = Word then
    begin
      Inc(Entries[I].Count);
      Exit;
    end;
  SetLength(Entries, Length(Entries) + 1);
  Entries[High(Entries)].Word := Word;
  Entries[High(Entries)].Count := 1;
end;

function Before(const A, B: TEntry): Boolean;
begin
  Result := (A.Count > B.Count) or ((A.Count = B.Count) and (A.Word < B.Word));
end;

var
  Line, Word: string;
  Letter: Char;
  I, J: Integer;
  Swap: TEntry;
begin
  while not EOF do
  begin
    ReadLn(Line);
    Word := '';
    for Letter in Line + ' ' do
      if Letter > ' ' then
        Word := Word + Letter
      else
      begin
        Add(Word);
        Word := '';
      end;
  end;
  for I := 0 to High(Entries) do
    for J := I + 1 to High(Entries) do
      if Before(Entries[J], Entries[I]) then
      begin
        Swap := Entries[I];
        Entries[I] := Entries[J];
        Entries[J] := Swap;
      end;
  for I := 0 to High(Entries) do
    WriteLn(Entries[I].Word, ' ', Entries[I].Count);
end.
