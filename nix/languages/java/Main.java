// Counts the words on stdin: most frequent first, then by alphabet.
import java.util.Comparator;
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;

public class Main {
    public static void main(String[] args) {
        Map<String, Integer> counts = new TreeMap<>();
        Scanner in = new Scanner(System.in);
        while (in.hasNext()) counts.merge(in.next(), 1, Integer::sum);
        counts.entrySet().stream()
            .sorted(Map.Entry.comparingByValue(Comparator.reverseOrder()))
            .forEach(entry -> System.out.println(entry.getKey() + " " + entry.getValue()));
    }
}
